"""`gldbench items A [B]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gldbench.commands.options import Json, TasksDir, print_json


def items(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="Output folder of `gldbench eval` or `gldbench run`, or FOLDER:CHECKPOINT if it holds several.",
        ),
    ],
    b: Annotated[
        str | None, typer.Argument(metavar="[B]", help="A second result to show beside A, in the same form.")
    ] = None,
    task: Annotated[str, typer.Option(help="Show one task, or all subtasks of one benchmark. Default: all.")] = "",
    differ: Annotated[bool, typer.Option("--differ", help="Only items that A and B score differently.")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="Only items on which A or B is not fully right.")] = False,
    no_answer: Annotated[
        bool, typer.Option("--no-answer", help="Only items for which the grader found no answer of A or B.")
    ] = False,
    grader: Annotated[
        str, typer.Option(help="Only the grades of this grader. It then also decides what is right.")
    ] = "",
    html: Annotated[Path | None, typer.Option(help="Write one HTML page that needs no network to this file.")] = None,
    tasks_dir: TasksDir = None,
    as_json: Json = False,
) -> None:
    """Show single items: prompt, gold answer, responses, and what each grader found and judged, and why."""
    from gldbench.items.read import read_items
    from gldbench.items.records import as_json as record
    from gldbench.items.records import chosen
    from gldbench.items.text import as_text, write_items

    sides = [a] if b is None else [a, b]
    everything = read_items(sides, task, grader)
    found = chosen(everything, differ=differ, wrong=wrong, no_answer=no_answer)
    if html is not None:
        write_items(found, html, f"Items of {' and '.join(found.sides)}")
    if as_json:
        print_json({"sides": list(found.sides), "items": [record(view, found.sides) for view in found.items]})
        return
    if html is None:
        for text in as_text(found):
            print(text)
    print(f"{len(found.items)} of {len(everything.items)} items{f': {html}' if html else ''}")
