"""`gldbench eval CHECKPOINT...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gldbench.commands.options import (
    ChangedData,
    Data,
    Harness,
    Json,
    TasksDir,
    TrustRemoteCode,
    UnsafeCode,
    chosen_graders,
    print_json,
)
from gldfusion.paths import resolved

if TYPE_CHECKING:
    from gldbench.evaluate.results import Evaluation
    from gldbench.schema import Estimate

HEADER: tuple[str, ...] = (
    "checkpoint",
    "task",
    "items",
    "score",
    "95 % interval",
    "strict to lenient",
    "no answer",
    "errors",
    "no grade",
    "prompts cut",
    "outputs cut",
    "answer limit",
)


def evaluate(
    checkpoints: Annotated[list[Path], typer.Argument(help="Folders of Hugging Face causal language models.")],
    tasks: Annotated[str, typer.Option(help='Comma-separated task names, or "paper11"; see `gldbench tasks list`.')],
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for responses and rows.")],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Items per benchmark, taken from its subtasks in turn. Default: all.")
    ] = None,
    backend: Annotated[
        str, typer.Option(help="Library that runs the model: hf, or vllm (only tested with a stand-in for vLLM).")
    ] = "hf",
    harness: Harness = None,
    variant: Annotated[str, typer.Option(help="Prompt variant; see `gldbench tasks show TASK`.")] = "default",
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences that are generated at once.")] = 64,
    unsafe_code: UnsafeCode = False,
    allow_changed_data: ChangedData = False,
    trust_remote_code: TrustRemoteCode = False,
    tasks_dir: TasksDir = None,
    as_json: Json = False,
) -> None:
    """Evaluate checkpoints on benchmark files. A response that is stored already is not generated again."""
    from gldbench.console import print_rows, reporter
    from gldbench.evaluate import results
    from gldbench.evaluate.evaluate import evaluate as run_evaluation

    graders = chosen_graders(harness)
    with reporter("eval") as progress:
        evaluation = run_evaluation(
            checkpoints,
            [tasks],
            data if data == "hub" else Path(data),
            limit,
            resolved(output),
            variant=variant,
            graders=graders,
            backend=backend,
            batch_size=batch_size,
            progress=lambda done, total: progress("responses", done, total),
            unsafe_code=unsafe_code,
            allow_changed=allow_changed_data,
            trust_remote_code=trust_remote_code,
        )
    if as_json:
        print_json(results.as_json(evaluation))
        return
    print_rows(*table(evaluation))
    for note in dict.fromkeys(note for score in evaluation.scores for note in score.notes):
        print(f"note: {note}")
    print(closing_line(evaluation))


def table(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """HEADER, then one row of text per checkpoint and task, and one per mean over subtasks or tasks."""
    from gldbench.evaluate.results import averages

    lines = [HEADER]
    for score in evaluation.scores:
        limit = score.task.generation.max_tokens
        lines.append(
            (
                score.subject,
                score.task.name,
                f"{score.n} of {score.n_task}",
                *_cells(score.score),
                f"{score.bracket[0]:.3f} to {score.bracket[1]:.3f}" if score.bracket else "",
                str(score.without_answer),
                str(score.failed),
                str(score.ungraded),
                str(score.truncated_prompts),
                str(score.truncated_outputs),
                str(score.max_tokens) if score.max_tokens == limit else f"{score.max_tokens} (task: {limit})",
            )
        )
        if score.by_subtask:
            name = f"{score.task.name}, mean of {len({row.cluster for row in score.headline})} subtasks"
            lines.append(_average_line(score.subject, name, score.by_subtask))
    for average in averages(evaluation):
        lines.append(_average_line(average.subject, f"mean of {len(average.tasks)} tasks", average.score))
    return lines


def _cells(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return "no grade", ""
    return f"{estimate.value:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"


def _average_line(subject: str, name: str, estimate: Estimate) -> tuple[str, ...]:
    return (subject, name, str(estimate.n), *_cells(estimate), *[""] * 7)


def closing_line(evaluation: Evaluation) -> str:
    """A sentence that says how much was generated and how many responses were stored already."""
    kept = evaluation.responses - evaluation.generated
    stand_in = f"; the backend {evaluation.backend} was only tested with a stand-in for its library"
    return (
        f"generated {evaluation.generated_tokens} tokens in {evaluation.generated} responses, "
        f"{evaluation.seconds:.1f} s; {kept} of {evaluation.responses} responses were stored already"
        f"{'' if evaluation.measured else stand_in}"
    )
