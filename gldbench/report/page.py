"""Reads a run and writes its report: an HTML page without external files, the same in Markdown, and the figures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from gldbench.printable import markdown, printable, table_cell
from gldbench.report import names, words
from gldbench.report.analysis import Analysis
from gldbench.report.figures import draw_all
from gldbench.report.svg import Picture, variable
from gldbench.report.tables import all_tables
from gldbench.report.training import Training, trainings
from gldbench.schema import Environment, Row
from gldbench.store import Store
from gldfusion.errors import InputError
from gldfusion.files import atomic_write, require_file

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Run:
    """Everything that a report is made from."""

    rows: list[Row]
    spec: dict[str, Any]
    environment: Environment


@dataclass(frozen=True)
class ReportPaths:
    """The files of a written report."""

    html: Path
    markdown: Path
    figures: tuple[Path, ...]


def read_run(run_dir: Path) -> Run:
    """Reads the rows, the spec and the environment of a run folder.

    Raises:
        InputError: a part is missing, or rows come from another environment.
    """
    hint = "give the folder of a run; `gldbench run` makes one"
    spec = yaml.safe_load(require_file(run_dir / "spec.yaml", "spec of the run", hint).read_text())
    text = require_file(run_dir / "environment.json", "environment of the run", hint).read_text()
    environment = Environment(**json.loads(text))
    rows = Store(run_dir).rows()
    strange = sorted({row.env_id for row in rows} - {environment.env_id})
    if strange:
        raise InputError(
            f"{run_dir} has rows of environment {', '.join(strange)}, but environment.json says {environment.env_id}\n"
            "one report cannot mix machines or package versions: use one run folder for each"
        )
    return Run(rows, spec, environment)


def write_report(run: Run, analysis: Analysis, folder: Path, items: str = "") -> ReportPaths:
    """Writes index.html, report.md and figures/*.png into `folder`, and deletes figures of an earlier report.

    Equal rows, specs and environments give equal bytes. Every file is written completely or not at all.

    Args:
        run: rows, spec and environment.
        analysis: the analysis of these rows.
        folder: where the files go.
        items: address of a page with the single items, which the page then links; empty: there is none.
    """
    trained = trainings(run.rows)
    pictures = draw_all(analysis, run.rows, trained)
    facts = _facts(run, analysis, trained, pictures, items)
    files = {folder / "figures" / f"{picture.name}.png": picture.png for picture in pictures}
    paths = ReportPaths(folder / "index.html", folder / "report.md", tuple(files))
    files[paths.markdown] = _render("report.md.j2", facts, escape=False).encode()
    files[paths.html] = _render("index.html.j2", facts, escape=True).encode()
    for path, content in files.items():
        with atomic_write(path) as file:
            file.write(content)
    for stale in set((folder / "figures").glob("*.png")) - set(paths.figures):
        stale.unlink()
    return paths


def colours() -> list[tuple[str, str, str]]:
    """(CSS variable, colour on a light page, colour on a dark page) of all colours of figures."""
    return [(variable(light), light, dark) for light, dark in names.DARK.items()]


def _facts(
    run: Run, analysis: Analysis, trained: tuple[Training, ...], pictures: list[Picture], items: str
) -> dict[str, Any]:
    """Everything that the templates print."""
    return {
        **words.FIXED,
        "analysis": analysis,
        "spec": run.spec,
        "spec_text": yaml.safe_dump(run.spec, sort_keys=False, allow_unicode=True),
        "environment": run.environment,
        "answer": words.answer(analysis),
        "basis": words.basis(analysis),
        "gate": words.gate_sentences(analysis),
        "items": items,
        "script": (TEMPLATES / "page.js").read_text(),
        "setup": words.setup(run.spec, analysis),
        "order": words.order(analysis),
        "dropped": words.dropped(analysis),
        "significance": words.significance(analysis.differences),
        "not_measured": words.not_measured(analysis, run.environment),
        "descriptions": {s.method: names.describe(s.method, analysis.declared) for s in analysis.scores},
        "tables": all_tables(analysis, trained, run.spec, run.environment),
        "pictures": {picture.name: picture for picture in pictures},
        "losses": [picture for picture in pictures if picture.name.startswith("loss")],
        "styles": names.styles([s.method for s in analysis.scores] + [t.method for t in trained] + list(names.GATE)),
        "colours": colours(),
        "variable": variable,
        "label_of": names.label_of,
    }


def _render(template: str, facts: dict[str, Any], escape: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printed if escape else _printed_markdown,
    )
    environment.filters["table_cell"] = table_cell
    return environment.get_template(template).render(facts)


def _printed(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def _printed_markdown(value: Any) -> Any:
    return markdown(value) if isinstance(value, str) else value
