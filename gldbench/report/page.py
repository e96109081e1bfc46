"""Reads a run, writes its report: one self-contained HTML page, the same in Markdown, and the figures as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from gldbench.report import names, run_tables, score_tables, words
from gldbench.report.analysis import Analysis, analyse
from gldbench.report.figures import draw_all
from gldbench.report.svg import Picture, variable
from gldbench.report.table import Table
from gldbench.report.training import Training, trainings
from gldbench.schema import Environment, Row
from gldbench.store import Store
from gldfusion.errors import InputError
from gldfusion.files import atomic_write, require_file

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Run:
    """What a report is made from."""

    rows: list[Row]
    spec: dict[str, Any]
    environment: Environment


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report."""

    html: Path
    markdown: Path
    figures: tuple[Path, ...]


def read_run(run_dir: Path) -> Run:
    """The rows, spec and environment of `runs/<id>/`; InputError where a part is missing or belongs elsewhere."""
    hint = "a report needs the folder of a run: make one with gldbench run"
    spec = yaml.safe_load(require_file(run_dir / "spec.yaml", "spec of the run", hint).read_text())
    text = require_file(run_dir / "environment.json", "environment of the run", hint).read_text()
    environment = Environment(**json.loads(text))
    rows = Store(run_dir).rows()
    strange = sorted({row.env_id for row in rows} - {environment.env_id})
    if strange:
        raise InputError(
            f"rows of environment {', '.join(strange)} in a run of environment {environment.env_id}\n"
            "numbers of different machines or versions are not compared; use one run folder for each"
        )
    return Run(rows, spec, environment)


def build_report(run_dir: Path, chance: Mapping[str, float]) -> ReportPaths:
    """Writes `run_dir`/report from the rows there; `chance` holds the chance level of each family or task."""
    run = read_run(run_dir)
    return write_report(run, analyse(run.rows, run.spec, chance), run_dir / "report")


def write_report(run: Run, analysis: Analysis, folder: Path) -> ReportPaths:
    """Writes index.html, report.md and figures/*.png into `folder`, each file whole or not at all.

    The same rows, spec and environment give the same bytes.
    """
    trained = trainings(run.rows)
    pictures = draw_all(analysis, run.rows, trained)
    facts = _facts(run, analysis, trained, pictures)
    files = {folder / "figures" / f"{picture.name}.png": picture.png for picture in pictures}
    paths = ReportPaths(folder / "index.html", folder / "report.md", tuple(files))
    files[paths.markdown] = _render("report.md.j2", facts, escape=False).encode()
    files[paths.html] = _render("template.html.j2", facts, escape=True).encode()
    for path, content in files.items():
        with atomic_write(path) as file:
            file.write(content)
    for stale in set((folder / "figures").glob("*.png")) - set(paths.figures):
        stale.unlink()
    return paths


def _facts(run: Run, analysis: Analysis, trained: tuple[Training, ...], pictures: list[Picture]) -> dict[str, Any]:
    """Everything that the templates print."""
    order = "by falling mean" if analysis.gate.passes else "in fixed order, because nothing is ranked here"
    return {
        "analysis": analysis,
        "spec": run.spec,
        "spec_text": yaml.safe_dump(run.spec, sort_keys=False, allow_unicode=True),
        "environment": run.environment,
        "verdict": words.verdict(analysis),
        "setup": words.setup(run.spec, analysis),
        "order": f"Fusion methods stand {order}; models and controls always in fixed order.",
        "dropped": words.dropped(analysis),
        "significance": words.significance(analysis.differences),
        "not_measured": words.not_measured(analysis, run.environment),
        "descriptions": {s.method: names.describe(s.method, analysis.declared) for s in analysis.scores},
        "tables": _tables(run, analysis, trained),
        "pictures": {picture.name: picture for picture in pictures},
        "losses": [picture for picture in pictures if picture.name.startswith("loss")],
        "styles": names.styles([s.method for s in analysis.scores] + [t.method for t in trained] + list(names.GATE)),
        "colours": [(variable(light), light, dark) for light, dark in names.DARK.items()],
        "variable": variable,
        "label_of": names.label_of,
    }


def _tables(run: Run, analysis: Analysis, trained: tuple[Training, ...]) -> dict[str, Table]:
    """All tables by name; score tables of the harder test only where it was run."""
    tables = [
        score_tables.scores_table(name, scores, analysis, corrected)
        for name, scores, corrected in (
            ("scores", analysis.scores, True),
            ("scores-raw", analysis.scores, False),
            ("harder", analysis.harder, True),
            ("harder-raw", analysis.harder, False),
        )
        if scores
    ]
    tables += [
        score_tables.gate_table(analysis),
        score_tables.checks_table(analysis),
        score_tables.differences_table("differences", analysis.differences),
        score_tables.differences_table("control-differences", analysis.control_differences),
        score_tables.statuses_table(analysis),
        run_tables.training_table(trained),
        run_tables.coverage_table(trained),
        run_tables.cost_table(trained, run.environment),
        run_tables.provenance_table(analysis.run_id, run.spec, run.environment, trained),
    ]
    return {table.name: table for table in tables}


def _render(template: str, facts: dict[str, Any], escape: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(facts)
