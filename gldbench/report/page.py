"""Reads a run and writes its report: an HTML page without external files, the same in Markdown, and the figures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from gldbench.env import SPEC, read_environment, verify_claim
from gldbench.printable import markdown, printable, table_cell
from gldbench.protocol.arms import protocol_hash
from gldbench.protocol.tuned import Tuning, read_tuning, write_tuning
from gldbench.report import names, opening, words
from gldbench.report.analysis import Analysis
from gldbench.report.costs import costs
from gldbench.report.descriptions import describe
from gldbench.report.figures import draw_all
from gldbench.report.summary import summary_json
from gldbench.report.svg import Picture, variable
from gldbench.report.tables import all_tables
from gldbench.report.training import Training, trainings
from gldbench.schema import Environment, Row
from gldbench.spec import read_spec, subjects_of, unit_of
from gldbench.store import Store
from gldfusion.errors import InputError
from gldfusion.files import atomic_write
from gldfusion.reading import shown

TEMPLATES = Path(__file__).parent / "templates"
SUMMARY = "comparison.json"
"""file beside a report with its numbers but those of single trainings; `gldbench claims` judges claims by them"""


@dataclass(frozen=True)
class Run:
    """Everything that a report is made from."""

    rows: list[Row]
    spec: dict[str, Any]
    environment: Environment
    missing: tuple[str, ...] = ()
    """the checkpoints that the spec asks for and whose rows are not stored"""
    tuning: Tuning | None = None
    """how the weights were chosen; None if they were not"""


@dataclass(frozen=True)
class ReportPaths:
    """The files of a written report."""

    html: Path
    markdown: Path
    figures: tuple[Path, ...]


def read_run(run_dir: Path, partial: bool = False) -> Run:
    """Reads the rows, the spec and the environment of a run folder, and compares the rows with what the spec asks for.

    Args:
        run_dir: folder of the run.
        partial: accept that rows of checkpoints are missing; `Run.missing` then names these checkpoints.

    Raises:
        InputError: a file is missing or damaged, rows come from another environment or belong to a checkpoint that the
            spec does not name, or rows are missing.
    """
    verify_claim(run_dir)
    environment = read_environment(run_dir)
    spec = read_spec(run_dir / SPEC)
    store = Store(run_dir, partial)
    units = set(store.units())
    asked = {unit_of(subject.name): subject.name for subject in subjects_of(spec)}
    if strange := sorted(units - asked.keys()):
        raise InputError(
            f"{run_dir} holds rows that its spec.yaml does not ask for: {shown(strange[0])}\n"
            "move the part files that were copied into its folder rows out of it"
        )
    missing = tuple(name for unit, name in asked.items() if unit not in units)
    if missing and not partial:
        raise InputError(
            f"{run_dir} has no rows of {len(missing)} of the {len(asked)} checkpoints that its spec asks for: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}\n"
            "run the same `gldbench run` again to make them, or report without them: --partial"
        )
    rows = store.rows()
    others = sorted({row.env_id for row in rows} - {environment.env_id})
    if others:
        raise InputError(
            f"{run_dir} has rows of environment {', '.join(others)}, but environment.json says {environment.env_id}\n"
            "one report cannot mix machines or package versions: use one run folder for each"
        )
    return Run(rows, spec.model_dump(mode="json", by_alias=True), environment, missing, read_tuning(run_dir))


def write_report(run: Run, analysis: Analysis, folder: Path, items: str = "", disagreements: str = "") -> ReportPaths:
    """Writes the report of a run into `folder`, and deletes figures of an earlier report.

    The files are index.html, report.md, comparison.json and figures/*.png; and tuning.json where weights were tuned,
    with a manifest, so that a copy of the folder serves another run as `weights_from`.

    Equal rows, specs and environments give equal bytes. Every file is written completely or not at all.

    Args:
        run: rows, spec and environment.
        analysis: the analysis of these rows.
        folder: where the files go.
        items: address of a page with the single items, which the page then links; empty: there is none.
        disagreements: address of a page with the items on which graders differ; empty: there is none.
    """
    trained = trainings(run.rows)
    pictures = draw_all(analysis, run.rows, trained, costs(trained, run.spec, analysis.weights))
    facts = _facts(run, analysis, trained, pictures) | {"items": items, "disagreements": disagreements}
    files = {folder / "figures" / f"{picture.name}.png": picture.png for picture in pictures}
    paths = ReportPaths(folder / "index.html", folder / "report.md", tuple(files))
    files[paths.markdown] = _render("report.md.j2", facts, escape=False).encode()
    files[paths.html] = _render("index.html.j2", facts, escape=True).encode()
    numbers = summary_json(analysis, trained, run.environment)
    files[folder / SUMMARY] = (json.dumps(numbers, indent=1) + "\n").encode()
    for path, content in files.items():
        with atomic_write(path) as file:
            file.write(content)
    for stale in set((folder / "figures").glob("*.png")) - set(paths.figures):
        stale.unlink()
    if run.tuning is not None:
        write_tuning(folder, run.tuning)
    return paths


def colours() -> list[tuple[str, str, str]]:
    """(CSS variable, colour on a light page, colour on a dark page) of all colours of figures."""
    return [(variable(light), light, dark) for light, dark in names.DARK.items()]


def _facts(run: Run, analysis: Analysis, trained: tuple[Training, ...], pictures: list[Picture]) -> dict[str, Any]:
    """Everything that the templates print."""
    return {
        **words.FIXED,
        "analysis": analysis,
        "spec": run.spec,
        "spec_text": yaml.safe_dump(run.spec, sort_keys=False, allow_unicode=True),
        "environment": run.environment,
        "lead": opening.lead(analysis),
        "found": opening.found(analysis),
        "basis": opening.basis(analysis),
        "gate": opening.gate_sentences(analysis),
        "missing": words.missing(run.missing),
        "script": (TEMPLATES / "page.js").read_text(),
        "setup": words.setup(run.spec, analysis),
        "protocol": protocol_hash(run.spec, run.environment),
        "order": words.order(analysis),
        "dropped": words.dropped(analysis),
        "significance": words.significance(analysis),
        "not_measured": words.not_measured(analysis, run.environment),
        "descriptions": {
            s.method: describe(s.method, run.spec, analysis.declared, analysis.weights) for s in analysis.scores
        },
        "tables": all_tables(analysis, trained, run.spec, run.environment, run.tuning),
        "pictures": {picture.name: picture for picture in pictures},
        "losses": [picture for picture in pictures if picture.name.startswith("loss")],
        "styles": names.styles(
            [s.method for s in analysis.scores] + [t.method for t in trained] + list(_named(run, analysis))
        ),
        "colours": colours(),
        "variable": variable,
        "label_of": names.label_of,
    }


def _named(run: Run, analysis: Analysis) -> set[str]:
    """Methods that tables name although they may have no rows."""
    controls = {control.method for world in analysis.gate.worlds for control in world.controls}
    return {names.BASELINE, *controls, *(trial.method for trial in (run.tuning.trials if run.tuning else ()))}


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
