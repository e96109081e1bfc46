"""`gldbench report RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gldbench.commands.options import Json, print_json
from gldfusion.files import atomic_write
from gldfusion.paths import resolved

if TYPE_CHECKING:
    from gldbench.items.records import Items
    from gldbench.schema import Row
    from gldbench.spent import Clock

ITEMS = "items.html"
"""page of single items beside the report"""
MOST_CHECKPOINTS = 80
"""a run with more has no page of single items: it would be too large for a browser"""
DISAGREEMENTS = "disagreements.html"
"""page of the items on which graders differ, where several graded the responses; a .jsonl beside it holds the same"""


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, such as runs/tiny.")],
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Report even if results of checkpoints are missing. The page names them."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the report of a run again from its stored rows, and print the main table."""
    from gldbench.commands.table import is_table_run, report_table

    place = resolved(folder)
    if is_table_run(place):
        report_table(place, as_json)
        return
    show_report(place, as_json, {}, partial)


def show_report(
    folder: Path, as_json: bool, facts: dict[str, Any], partial: bool = False, clock: Clock | None = None
) -> None:
    """Writes the report of a run, with a page of its single items, and prints the summary.

    Args:
        folder: folder of the run.
        as_json: print one JSON document instead of text.
        facts: more numbers to print.
        partial: report even if results of checkpoints are missing.
        clock: measured the run; its seconds are printed too.
    """
    from gldbench.console import print_table
    from gldbench.items.page import page
    from gldbench.items.read import read_folder
    from gldbench.items.records import several_graders
    from gldbench.report import analyse, read_run, summary_json, summary_table, trainings, write_report
    from gldbench.report.words import missing
    from gldbench.tasks import load_task, task_names

    made = read_run(folder, partial)
    analysis = analyse(made.rows, made.spec, {name: load_task(name).chance for name in task_names()}, made.tuning)
    checkpoints = len({row.subject for row in made.rows})
    items = read_folder(folder, partial) if checkpoints <= MOST_CHECKPOINTS else None
    several = items is not None and several_graders(items)
    paths = write_report(
        made, analysis, folder / "report", ITEMS if items is not None else "", DISAGREEMENTS if several else ""
    )
    if items is not None:
        with atomic_write(paths.html.with_name(ITEMS)) as file:
            file.write(page(items, f"Items of {analysis.run_id}", paths.html.name).encode())
        if several:
            write_disagreements(items, paths.html, analysis.run_id)
    else:
        paths.html.with_name(ITEMS).unlink(missing_ok=True)  # of an earlier report
    if as_json:
        summary = summary_json(analysis, trainings(made.rows), made.environment)
        summary["missing"] = list(made.missing)
        if clock:
            facts = facts | {"seconds": {s.kind: round(s.seconds, 1) for s in clock.spent()}}
        where = {"report": str(paths.html), "items": str(paths.html.with_name(ITEMS)) if items is not None else None}
        print_json(summary | facts | where)
        return
    print_table(summary_table(analysis))
    if made.missing:
        print(missing(made.missing))
    for name, value in facts.items():
        print(f"{name.replace('_', ' ')}: {value}")
    print(f"report: {paths.html}")
    if items is not None:
        print(f"items: {paths.html.with_name(ITEMS)}")
    else:
        print(f"items: no page, because {checkpoints} checkpoints are too many for one; see `gldbench items --help`")
    if note := without_sandbox(made.rows):
        print(note)
    if clock:
        print_spent(clock)


def print_spent(clock: Clock) -> None:
    """Prints where the time of a run went."""
    from gldbench.console import print_rows

    rows = [(clock.words(s.kind), str(s.jobs or "–"), f"{s.seconds:.0f}") for s in clock.spent()]
    print("\nWhere the time went (seconds of jobs are those of all workers together):")
    print_rows(("work", "jobs", "seconds"), *rows)


def without_sandbox(rows: Sequence[Row]) -> str:
    """The last line of a run with `--unsafe-code`: how many answers ran without a sandbox. "" where none did."""
    from gldbench.sandbox import UNSAFE

    answers = {(row.subject, row.task, row.variant, row.item) for row in rows if UNSAFE in row.reason}
    if not answers:
        return ""
    return (
        f"{len(answers)} answers, which are programs, were run without a sandbox, and their rows say so; "
        "`sudo make system` installs what a sandbox needs"
    )


def write_disagreements(items: Items, report: Path, name: str) -> None:
    """Writes the items on which graders differ beside the report: as a page, and as JSON lines."""
    from gldbench.items.differences import find_differences, items_of, write_differences
    from gldbench.items.page import page

    found, path = find_differences(items), report.with_name(DISAGREEMENTS)
    write_differences(found, path.with_suffix(".jsonl"))
    with atomic_write(path) as file:
        file.write(page(items_of(found, items), f"Where graders of {name} differ", report.name).encode())
