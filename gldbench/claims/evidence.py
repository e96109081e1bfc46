"""Reads the rows that claims are judged by: from folders of runs, or those that are committed in reports/."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from gldbench.gw import tables
from gldbench.report import SUMMARY, analyse, read_run, summary_json, trainings
from gldbench.store import Store
from gldbench.tables.definition import Table, load_table
from gldbench.tasks import load_task, task_names
from gldfusion.errors import InputError
from gldfusion.reading import read_object

REPORTS = Path(__file__).parents[2] / "reports"
"""the committed reports, in a checkout"""
FACTS = "graph_facts.csv"
ALONG = "along_training.csv"
SPECS = Path(__file__).parents[1] / "specs"


@dataclass(frozen=True)
class Evidence:
    """Everything that claims are judged by. A part without rows is empty or None."""

    solved: pd.DataFrame
    """results of solvers of Gromov-Wasserstein benches: `gw.tables.results`"""
    problems: pd.DataFrame
    """what is known about the problems of these benches: `gw.tables.results(rows, "problem")`"""
    facts: pd.DataFrame
    """rows of `gldbench.benches.graph_facts`"""
    along: pd.DataFrame
    """rows of `gldbench.benches.along_training`"""
    comparisons: tuple[dict[str, Any], ...]
    """the numbers of the reports of comparisons, as `report.summary_json` gives them"""
    table: Table
    """the published Table 3"""
    found: tuple[str, ...]
    """what was read, one line for each place"""


def read_evidence(folders: Sequence[Path] = (), reports: Path = REPORTS) -> Evidence:
    """Reads evidence of all kinds. The folders replace the committed evidence of the kinds that they hold.

    Args:
        folders: of runs (`gldbench run`, `gldbench gw bench`) or of rows of a bench.
        reports: the committed reports; it need not exist.

    Raises:
        InputError: a folder holds no rows that a claim is judged by, or its rows are damaged.
    """
    nothing = pd.DataFrame()
    empty = Evidence(nothing, nothing, nothing, nothing, (), load_table(SPECS / "table3.yaml"), ())
    given = empty
    for folder in folders:
        given = _joined(given, _read(folder, empty))
    committed = empty
    for folder in sorted(reports.glob("*")) if reports.is_dir() else ():
        if any((folder / name).is_file() for name in (tables.SOLVED, FACTS, ALONG, SUMMARY)):
            committed = _joined(committed, _read(folder, empty))
    if given.solved.empty:
        given = replace(given, solved=committed.solved, problems=committed.problems)
    for name in ("facts", "along"):
        if getattr(given, name).empty:
            given = replace(given, **{name: getattr(committed, name)})
    if not given.comparisons:
        given = replace(given, comparisons=committed.comparisons)
    return replace(given, found=(*given.found, *committed.found))


def _read(folder: Path, empty: Evidence) -> Evidence:
    """The evidence in one folder."""
    if (folder / FACTS).is_file():
        return replace(empty, facts=_csv(folder / FACTS), found=(f"facts about graphs: {_shown(folder)}",))
    if (folder / ALONG).is_file():
        return replace(empty, along=_csv(folder / ALONG), found=(f"measurements along training: {_shown(folder)}",))
    if (folder / tables.SOLVED).is_file():
        told = (f"Gromov-Wasserstein bench: {_shown(folder)}",)
        return replace(empty, solved=_csv(folder / tables.SOLVED), problems=_csv(folder / tables.PROBLEMS), found=told)
    if (folder / SUMMARY).is_file():
        mend = f"make the report again: gldbench report, then copy its {SUMMARY}"
        told = (f"comparison: {_shown(folder)}",)
        return replace(
            empty, comparisons=(_comparison(read_object(folder / SUMMARY, "report", mend), folder),), found=told
        )
    if not (folder / "rows").is_dir():
        raise InputError(
            f"{folder} holds no rows that a claim is judged by\n"
            "name the folder of a run of `gldbench run` or `gldbench gw bench`, or one with graph_facts.csv "
            "or along_training.csv"
        )
    rows = Store(folder).frame()
    suites = set(rows["suite"]) if "suite" in rows else set()
    if "gw" in suites:
        solved, problems = tables.results(rows), tables.results(rows, "problem")
        return replace(empty, solved=solved, problems=problems, found=(f"Gromov-Wasserstein bench: {_shown(folder)}",))
    if "world" in suites:
        made = read_run(folder)
        analysis = analyse(made.rows, made.spec, {name: load_task(name).chance for name in task_names()}, made.tuning)
        numbers = summary_json(analysis, trainings(made.rows), made.environment)
        return replace(empty, comparisons=(numbers,), found=(f"comparison: {_shown(folder)}",))
    raise InputError(
        f"{folder} holds rows of {', '.join(sorted(suites)) or 'nothing'}, by which no claim is judged\n"
        "name the folder of a run of `gldbench run` or `gldbench gw bench`"
    )


def _shown(folder: Path) -> Path:
    """The folder as it is printed: from the root of the repository on, if it lies there."""
    root = REPORTS.parent
    return folder.relative_to(root) if folder.is_relative_to(root) else folder


def _comparison(numbers: dict[str, Any], folder: Path) -> dict[str, Any]:
    if not {"run_id", "gate", "tuned", "differences"} <= numbers.keys():
        raise InputError(f"{folder / SUMMARY} is no summary of a comparison\nmake the report again: gldbench report")
    return numbers


def _csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}\nmake the report again, or restore the file") from None


def _joined(one: Evidence, other: Evidence) -> Evidence:
    """The evidence of both."""
    frames = {
        name: pd.concat([getattr(one, name), getattr(other, name)], ignore_index=True)
        for name in ("solved", "problems", "facts", "along")
    }
    comparisons = (*one.comparisons, *other.comparisons)
    return replace(one, **frames, comparisons=comparisons, found=(*one.found, *other.found))
