"""The command `gldbench score TASK FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gldbench.commands.options import ChangedData, Data, Harness, Json, TasksDir, UnsafeCode, chosen_graders, print_json


def score(
    task: Annotated[str, typer.Argument(help="Task name, such as gsm8k or mmlu/anatomy; see `gldbench tasks list`.")],
    responses: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help='Lines {"item_id": ..., "output": ...}, or a file of another harness; see --format.'
        ),
    ],
    data: Data,
    harness: Harness = None,
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="auto, gldbench, lm-eval (samples_*.jsonl), evalplus (samples.jsonl), opencompass "
            "(predictions/*.json) or inspect (.eval, .json).",
        ),
    ] = "auto",
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out responses that belong to no item of the task, and count them.")
    ] = False,
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

    Items without a response are not graded. The output says how many of the task's items were graded. With several
    responses per item, scores are means over them, and pass@k is printed.
    """
    from gldbench.evaluate.score import score as score_file

    result = score_file(
        task,
        responses,
        "hub" if data == "hub" else Path(data),
        chosen_graders(harness),
        file_format=file_format,
        partial=partial,
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
            str(own["ungraded"]),
        )
        for grader, own in result["graders"].items()
        for name, metrics in own["filters"].items()
        for metric, value in metrics.items()
    ]
    score = (
        "no grade" if first["score"] is None else f"{first['score']:.4f} ({first['low']:.4f} to {first['high']:.4f})"
    )
    print(
        f"{result['task']}: {first['metric']} {score}, "
        f"{result['n']} of {result['n_task']} items, by {first['grader']} under {first['filter']}"
    )
    if first["ungraded"]:
        print(f"{first['ungraded']} responses have no grade, and no score counts them; the notes say why")
    if samples := result["samples"]:
        fewest, most = samples["fewest"], samples["most"]
        print(f"{fewest if fewest == most else f'{fewest} to {most}'} responses per item; scores are means over them")
        for k, own in samples["pass_at"].items():
            print(f"pass@{k}: {own['score']:.4f} ({own['low']:.4f} to {own['high']:.4f})")
    print_rows(("grader", "filter", "metric", "score", "no answer", "errors", "no grade"), *lines)
    if first["strict"] is not None:
        print(f"marked answers only: {first['strict']:.4f}; by any rule: {first['lenient']:.4f}")
    for note in result["notes"]:
        print(f"note: {note}")
    for name in result["not_applicable"]:
        print(f"{name} does not grade {result['task']}")
    if result["changed_data"]:
        print("the data files are not those that the task was defined on (--allow-changed-data)")
