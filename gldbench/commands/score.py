"""The command `gldbench score TASK RESPONSES.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gldbench.commands.options import ChangedData, Data, Harness, Json, TasksDir, UnsafeCode, chosen_graders, print_json


def score(
    task: Annotated[str, typer.Argument(help="Task name, such as gsm8k or mmlu/anatomy; see `gldbench tasks list`.")],
    responses: Annotated[
        Path, typer.Argument(metavar="RESPONSES.jsonl", help='File of lines {"item_id": ..., "output": ...}.')
    ],
    data: Data,
    harness: Harness = None,
    unsafe_code: UnsafeCode = False,
    allow_changed_data: ChangedData = False,
    items: Annotated[
        Path | None,
        typer.Option(help="Write prompt, gold answer, output and grades of every item: JSON lines, or a page (.html)."),
    ] = None,
    tasks_dir: TasksDir = None,
    as_json: Json = False,
) -> None:
    """Grade responses from a file, whoever made them.

    Items without a response are not graded. The output says how many of the task's items were graded.
    """
    from gldbench.evaluate.score import score as score_file

    result = score_file(
        task,
        responses,
        "hub" if data == "hub" else Path(data),
        chosen_graders(harness),
        unsafe_code=unsafe_code,
        allow_changed=allow_changed_data,
        items_file=items,
    )
    if as_json:
        print_json(result)
        return
    _print(result)
    if items is not None:
        print(f"items: {items}")


def _print(result: Mapping[str, Any]) -> None:
    """The headline as a sentence, then a table with every number of every grader."""
    from gldbench.console import print_rows

    first = result["headline"]
    lines = [
        (
            grader,
            name,
            metric,
            "no grade" if value is None else f"{value:.4f}",
            str(own["no_answer"]),
            str(own["errors"]),
        )
        for grader, own in result["graders"].items()
        for name, metrics in own["filters"].items()
        for metric, value in metrics.items()
    ]
    print(
        f"{result['task']}: {first['metric']} {first['score']:.4f} ({first['low']:.4f} to {first['high']:.4f}), "
        f"{result['n']} of {result['n_task']} items, by {first['grader']} under {first['filter']}"
    )
    print_rows(("grader", "filter", "metric", "score", "no answer", "errors"), *lines)
    if first["strict"] is not None:
        print(f"marked answers only: {first['strict']:.4f}; by any rule: {first['lenient']:.4f}")
    for note in result["notes"]:
        print(f"note: {note}")
    for name in result["not_applicable"]:
        print(f"{name} does not grade {result['task']}")
    if result["changed_data"]:
        print("the data files are not those that the task was defined on (--allow-changed-data)")
