"""Scores a pivot on a few benchmark items while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from gldbench.evaluate.evaluate import evaluate
from gldbench.tasks import expand, load_task
from gldfusion.errors import InputError


def scorer(tasks: str, data: str, limit: int, output: Path) -> Callable[[Path], Mapping[str, float]]:
    """Makes the function that scores a checkpoint on tasks (`gldfusion.progress.Watch.evaluate`).

    Args:
        tasks: comma-separated task names, as for `gldbench eval`.
        data: folder with the files of the benchmarks, or "hub".
        limit: most items of each task.
        output: folder for responses and rows. A checkpoint that was scored there already is not asked again.

    Returns:
        The function: folder of a checkpoint -> task -> score of its headline, between 0 and 1.

    Raises:
        InputError: a task is unknown. The function raises it where the grader of a task could grade no response.
    """
    for name in expand([tasks]):
        load_task(name)

    def score(checkpoint: Path) -> dict[str, float]:
        evaluation = evaluate([checkpoint], [tasks], data if data == "hub" else Path(data), limit, output)
        for task in evaluation.scores:
            if task.score is None:
                raise InputError(f"no response to {task.task.name} could be graded while training\n{task.notes[0]}")
        return {task.task.name: task.score.value for task in evaluation.scores if task.score is not None}

    return score
