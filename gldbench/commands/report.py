"""`gldbench report RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gldbench.commands.options import Json, print_json
from gldfusion.files import atomic_write

if TYPE_CHECKING:
    from gldbench.items.records import Items

ITEMS = "items.html"
"""page of single items beside the report"""
DISAGREEMENTS = "disagreements.html"
"""page of the items on which graders differ, where several graded a response; beside it the same as .jsonl"""


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, such as runs/tiny.")],
    as_json: Json = False,
) -> None:
    """Write the report of a run again from its stored rows, and print the main table."""
    show_report(folder.resolve(), as_json, {})


def show_report(folder: Path, as_json: bool, facts: dict[str, Any]) -> None:
    """Writes the report of a run, with a page of its single items, and prints the summary.

    Args:
        folder: folder of the run.
        as_json: print one JSON document instead of text.
        facts: more numbers to print.
    """
    from gldbench.console import print_table
    from gldbench.items.page import page
    from gldbench.items.read import read_folder
    from gldbench.items.records import several_graders
    from gldbench.report import analyse, read_run, summary_json, summary_table, trainings, write_report
    from gldbench.tasks import load_task, task_names

    made = read_run(folder)
    analysis = analyse(made.rows, made.spec, {name: load_task(name).chance for name in task_names()})
    items = read_folder(folder)
    several = several_graders(items)
    paths = write_report(made, analysis, folder / "report", ITEMS, DISAGREEMENTS if several else "")
    with atomic_write(paths.html.with_name(ITEMS)) as file:
        file.write(page(items, f"Items of {analysis.run_id}", paths.html.name).encode())
    if several:
        write_disagreements(items, paths.html, analysis.run_id)
    if as_json:
        summary = summary_json(analysis, trainings(made.rows), made.environment)
        print_json(summary | facts | {"report": str(paths.html), "items": str(paths.html.with_name(ITEMS))})
        return
    print_table(summary_table(analysis))
    for name, value in facts.items():
        print(f"{name.replace('_', ' ')}: {value}")
    print(f"report: {paths.html}\nitems: {paths.html.with_name(ITEMS)}")


def write_disagreements(items: Items, report: Path, name: str) -> None:
    """Writes the items on which graders differ beside the report: as a page, and as JSON lines."""
    from gldbench.items.differences import find_differences, items_of, write_differences
    from gldbench.items.page import page

    found, path = find_differences(items), report.with_name(DISAGREEMENTS)
    write_differences(found, path.with_suffix(".jsonl"))
    with atomic_write(path) as file:
        file.write(page(items_of(found, items), f"Where graders of {name} differ", report.name).encode())
