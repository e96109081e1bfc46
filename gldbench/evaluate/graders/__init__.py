"""Graders of stored responses: `GRADERS`."""

from __future__ import annotations

from collections.abc import Sequence

from gldbench.evaluate.graders import ours
from gldbench.evaluate.graders.base import Grade, Grader
from gldbench.schema import Item, Response, Task


def _lm_eval(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
    from gldbench.evaluate.graders import harness  # lm_eval takes seconds to import

    return harness.grade(task, items, responses)


GRADERS: dict[str, Grader] = {
    grader.name: grader
    for grader in (
        Grader(
            "lm_eval", "Gao et al., The Language Model Evaluation Harness (2024), doi:10.5281/zenodo.12608602", _lm_eval
        ),
        Grader("ours", "this project: the task's expression, then `scorers.SCORERS`", ours.grade),
    )
}

__all__ = ["GRADERS", "Grade", "Grader"]
