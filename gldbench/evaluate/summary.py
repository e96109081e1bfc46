"""What an evaluation says: per checkpoint and task a score with its interval and everything that went missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gldbench.schema import Estimate, Row, Task
from gldbench.stats import wilson

HEADER: tuple[str, ...] = (
    "checkpoint",
    "task",
    "items",
    "score",
    "95 % interval",
    "no answer",
    "errors",
    "prompts cut",
    "outputs cut",
    "answer limit",
)


@dataclass(frozen=True)
class TaskScore:
    """One checkpoint's result on one task."""

    subject: str
    checkpoint: str
    task: Task
    n: int
    n_task: int
    """items of the whole task; `n` of them were asked"""
    rows: list[Row]
    truncated_prompts: int
    truncated_outputs: int
    max_tokens: int
    """tokens an answer could have: less than the task's limit where the checkpoint's context is short"""

    def under(self, grader: str, filter_name: str) -> list[Row]:
        """The rows of one grader and filter."""
        return [row for row in self.rows if (row.grader, row.filter) == (grader, filter_name)]

    @property
    def headline(self) -> list[Row]:
        """The rows of the number that is quoted first."""
        return self.under(self.task.headline.grader, self.task.headline.filter)

    @property
    def score(self) -> Estimate:
        """Headline score with Wilson's interval."""
        return _estimate(self.headline)


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found, and what it had to generate for it."""

    scores: list[TaskScore]
    responses: int
    generated: int
    generated_tokens: int
    seconds: float


def _estimate(rows: Sequence[Row]) -> Estimate:
    return wilson(round(sum(row.value or 0.0 for row in rows)), len(rows))


def _without_answer(rows: Sequence[Row]) -> int:
    """Responses in which the filter found no answer, cut off or not."""
    return sum(row.status in ("no_answer", "truncated") for row in rows)


def _failed(rows: Sequence[Row]) -> int:
    return sum(row.status in ("timeout", "error") for row in rows)


def table(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """HEADER and one row of text per checkpoint and task."""
    lines = [HEADER]
    for score in evaluation.scores:
        estimate = score.score
        limit = score.task.generation.max_tokens
        lines.append(
            (
                score.subject,
                score.task.name,
                f"{score.n} of {score.n_task}",
                f"{estimate.value:.3f}",
                f"{estimate.low:.3f} to {estimate.high:.3f}",
                str(_without_answer(score.headline)),
                str(_failed(score.headline)),
                str(score.truncated_prompts),
                str(score.truncated_outputs),
                str(score.max_tokens) if score.max_tokens == limit else f"{score.max_tokens} (task: {limit})",
            )
        )
    return lines


def closing_line(evaluation: Evaluation) -> str:
    """What was generated and what came from the store, in a sentence."""
    kept = evaluation.responses - evaluation.generated
    return (
        f"generated {evaluation.generated_tokens} tokens in {evaluation.generated} responses, "
        f"{evaluation.seconds:.1f} s; "
        f"{kept} of {evaluation.responses} responses were stored already"
    )


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """For machines: scores in [0, 1], counts, and every grader and filter."""
    return {
        "scores": [_score_json(score) for score in evaluation.scores],
        "responses": evaluation.responses,
        "generated": evaluation.generated,
        "generated_tokens": evaluation.generated_tokens,
        "seconds": evaluation.seconds,
    }


def _score_json(score: TaskScore) -> dict[str, Any]:
    headline, estimate = score.task.headline, score.score
    graders = {
        grader: {
            "metric": headline.metric,
            "filter": headline.filter,
            "score": _estimate(rows).value,
            "no_answer": _without_answer(rows),
            "errors": _failed(rows),
            "filters": {name: _estimate(score.under(grader, name)).value for name in score.task.patterns},
        }
        for grader in dict.fromkeys(row.grader for row in score.rows)
        if (rows := score.under(grader, headline.filter))
    }
    return {
        "subject": score.subject,
        "checkpoint": score.checkpoint,
        "task": score.task.name,
        "n": score.n,
        "n_task": score.n_task,
        "headline": {
            "grader": headline.grader,
            "filter": headline.filter,
            "metric": headline.metric,
            "score": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
        },
        "graders": graders,
        "no_answer": _without_answer(score.headline),
        "truncated_prompts": score.truncated_prompts,
        "truncated_outputs": score.truncated_outputs,
        "max_tokens": score.max_tokens,
    }
