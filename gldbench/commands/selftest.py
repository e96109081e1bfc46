"""The commands `gldbench selftest graders`, `cases` and `outputs`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gldbench.commands.options import Data, Harness, Json, chosen_graders, print_json

if TYPE_CHECKING:
    from gldbench.selftest.given import GivenCase
    from gldbench.selftest.graders import Selftest, SelftestRow
    from gldbench.selftest.outputs import OutputsRow

selftest_app = typer.Typer(help="Check the harness itself.", no_args_is_help=True)


@selftest_app.command()
def graders(
    data: Data,
    tasks: Annotated[str, typer.Option(help='Comma-separated task names, or "all".')] = "all",
    items: Annotated[
        int | None,
        typer.Option(min=1, help="Number of items of each benchmark from which cases are made. Default: 8 to 60."),
    ] = None,
    harness: Harness = None,
    as_json: Json = False,
) -> None:
    """Give every grader outputs with known scores, and compare.

    The exit code is 1 if our own grader is wrong. Errors of other harnesses' graders are shown only.
    """
    from gldbench.console import reporter
    from gldbench.selftest.graders import as_json as document
    from gldbench.selftest.graders import selftest_graders
    from gldbench.tasks import expand

    chosen = chosen_graders(harness)
    with reporter("selftest graders") as progress:
        names = _benchmarks() if tasks == "all" else expand(tasks)
        result = selftest_graders(names, data if data == "hub" else Path(data), items, progress, chosen)
    if as_json:
        print_json(document(result))
    else:
        _show(result)
    raise typer.Exit(0 if result.passed else 1)


def _benchmarks() -> list[str]:
    """The tasks that have a data file. The items of the other tasks are made together with a world."""
    from gldbench.tasks import load_task, task_names

    return [name for name in task_names() if load_task(name).dataset.kind == "file"]


def _show(result: Selftest) -> None:
    """The table, the failed cases, and the verdict."""
    from gldbench.console import print_rows

    print_rows(("task", "grader", "kind", "n", "score", "required", ""), *map(_cells, result.rows))
    for row in result.rows:
        shown = row.exceptions if row.grader == "ours" else row.exceptions[:1]
        for failure in shown:
            print(
                f"{row.task} {row.grader} {row.kind}: item {failure.item} "
                f"{'has no grade' if failure.score is None else f'scores {failure.score:g}'}, {failure.output!r}"
            )
        if len(shown) < len(row.exceptions):
            print(f"  and {len(row.exceptions) - len(shown)} more (--json lists them)")
        if row.exceptions and row.exceptions[0].why:
            print(f"  because {row.exceptions[0].why}")
    for reason in dict.fromkeys(row.skipped for row in result.rows if row.skipped):
        print(f"skipped: {reason}")
    print("our grader is right on every case" if result.passed else "our grader is wrong on the cases above")


def _cells(row: SelftestRow) -> tuple[str, ...]:
    score = "skipped" if row.skipped else "no grade" if row.score is None else f"{row.score:.4f}"
    return (row.task, row.grader, row.kind, str(row.n), score, row.required, "" if row.ok else "WRONG")


@selftest_app.command()
def cases(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help='Lines {"task", "item_id", "output", "expect", "kind"}.')
    ],
    data: Data,
    as_json: Json = False,
) -> None:
    """Grade outputs whose right grade is known, with the headline grader. The exit code is 1 where one is missed."""
    from gldbench.selftest.given import run_cases

    graded = run_cases(file, data if data == "hub" else Path(data))
    missed = [case for case in graded if case.missed]
    if as_json:
        kinds = {kind: {"n": n, "missed": bad} for kind, n, bad in _kinds(graded)}
        found = [dataclasses.asdict(case) | {"missed": case.missed} for case in graded]
        print_json({"passed": not missed, "n": len(graded), "missed": len(missed), "kinds": kinds, "cases": found})
    else:
        _show_cases(graded, missed)
    raise typer.Exit(1 if missed else 0)


def _kinds(graded: list[GivenCase]) -> list[tuple[str, int, int]]:
    """(kind, number of cases, number of missed ones)"""
    own = {kind: [case for case in graded if case.kind == kind] for kind in dict.fromkeys(c.kind for c in graded)}
    return [(kind, len(cases), sum(case.missed for case in cases)) for kind, cases in own.items()]


def _show_cases(graded: list[GivenCase], missed: list[GivenCase]) -> None:
    from gldbench.console import print_rows

    rows = [(kind, str(n), str(n - bad), "" if not bad else "MISSED") for kind, n, bad in _kinds(graded)]
    print_rows(("kind", "cases", "right", ""), *rows)
    for case in missed:
        value = "no grade" if case.value is None else f"{case.value:g}"
        print(
            f"line {case.line}: {case.task} {case.item_id}: expected {case.expect:g}, got {value} "
            f"({case.status}, {case.how or 'none'}: {case.found[:60]!r}) for {case.output[-120:]!r}"
        )
    print(f"{len(graded) - len(missed)} of {len(graded)} cases are right")


@selftest_app.command()
def outputs(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help='Lines {"task", "item_id", "output", "label"}.')
    ],
    data: Data,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most outputs of a task in a file, drawn at random. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw that --limit makes.")] = 0,
    differ: Annotated[
        Path | None, typer.Option(help="Write the disagreements with the labels to this file, as JSON lines.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade published outputs of models, and compare the scores with published or hand-labelled ones.

    This is a report: a label may be wrong too, so the exit code is 0 whatever the disagreements are.
    """
    from gldbench.console import reporter
    from gldbench.selftest.outputs import run_outputs

    with reporter("selftest outputs") as progress:
        folder = data if data == "hub" else Path(data)
        rows = run_outputs(files, folder, limit=limit, seed=seed, differ=differ, progress=progress)
    if as_json:
        print_json([dataclasses.asdict(row) | {"share": row.share} for row in rows])
        return
    _show_outputs(rows)
    if differ is not None:
        print(f"disagreements: {differ}")


def _show_outputs(rows: list[OutputsRow]) -> None:
    """One line per task and file. The last four columns are over the outputs that have a label."""
    from gldbench.console import print_rows

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    cells = [
        (
            row.task,
            row.file.rpartition("/")[2],
            str(row.n),
            share(row.strict),
            share(row.score),
            share(row.lenient),
            str(row.errors),
            str(row.ungraded),
            str(row.labelled),
            share(row.label),
            share(row.score_labelled),
            str(row.disagreements),
            share(row.share),
        )
        for row in rows
    ]
    names = ("task", "file", "n", "strict", "score", "lenient", "errors", "no grade")
    print_rows((*names, "labelled", "label", "our score", "disagree", "share"), *cells)
