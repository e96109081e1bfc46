"""`gldbench eval CHECKPOINT...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gldbench.commands.options import ChangedData, Data, Json, UnsafeCode, print_json


def evaluate(
    checkpoints: Annotated[list[Path], typer.Argument(help="Folders of Hugging Face causal language models.")],
    tasks: Annotated[str, typer.Option(help='Comma-separated task names, or "paper11"; see `gldbench tasks list`.')],
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for responses and rows.")],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Items per benchmark, taken from its subtasks in turn. Default: all.")
    ] = None,
    backend: Annotated[str, typer.Option(help="What runs the model: hf, or vllm (never measured).")] = "hf",
    harness: Annotated[
        str | None, typer.Option(help="Comma-separated graders. Default: every grader that applies to a task.")
    ] = None,
    variant: Annotated[str, typer.Option(help="Prompt variant; see `gldbench tasks show TASK`.")] = "default",
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences that are generated at once.")] = 64,
    unsafe_code: UnsafeCode = False,
    allow_changed_data: ChangedData = False,
    as_json: Json = False,
) -> None:
    """Evaluate checkpoints on benchmark files. A response that is stored already is not generated again."""
    from gldbench.console import print_rows, reporter
    from gldbench.evaluate import summary
    from gldbench.evaluate.evaluate import evaluate as run_evaluation
    from gldbench.grade.rows import graders_named

    graders = graders_named(harness)
    with reporter("eval") as progress:
        result = run_evaluation(
            checkpoints,
            [tasks],
            data if data == "hub" else Path(data),
            limit,
            output.resolve(),
            variant=variant,
            graders=graders,
            backend=backend,
            batch_size=batch_size,
            progress=lambda done, total: progress("responses", done, total),
            unsafe_code=unsafe_code,
            allow_changed=allow_changed_data,
        )
    if as_json:
        print_json(summary.as_json(result))
        return
    print_rows(*summary.table(result))
    print(summary.closing_line(result))
