"""What an evaluation says: per checkpoint and task a score with its interval and everything that went missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gldbench.grade import GRADERS
from gldbench.schema import Estimate, Row, Task
from gldbench.stats import ItemMean, item_mean, macro_mean
from gldbench.stats.averages import BOOTSTRAP_SEED, averaged, has_strata, subtask_mean
from gldfusion.errors import InputError

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

    def under(self, grader: str, filter_name: str, metric: str) -> list[Row]:
        """The rows of one grader, filter and metric: one per item."""
        return [row for row in self.rows if (row.grader, row.filter, row.metric) == (grader, filter_name, metric)]

    @property
    def headline(self) -> list[Row]:
        """The rows of the number that is quoted first."""
        return self.under(self.task.headline.grader, self.task.headline.filter, self.task.headline.metric)

    @cached_property
    def mean(self) -> ItemMean:
        """Headline score over items, each counting once, with the standard error and interval of its clusters."""
        rows = self.headline
        if not rows:
            wanted, given = self.task.headline, {f"{row.grader}/{row.filter}/{row.metric}" for row in self.rows}
            raise InputError(
                f"task {self.task.name}: grader {wanted.grader} gave no {wanted.metric} under the filter "
                f"{wanted.filter}\nmake headline in its task.yaml one of {', '.join(sorted(given))}"
            )
        return item_mean(_values(rows), [row.cluster for row in rows], seed=BOOTSTRAP_SEED)

    @property
    def score(self) -> Estimate:
        """Headline score with its interval; `Estimate.method` names the interval."""
        return self.mean.estimate

    @cached_property
    def by_subtask(self) -> Estimate | None:
        """Mean of the subtasks' scores with a stratified interval; None where the task has no subtasks."""
        if not has_strata(self.task):
            return None
        return subtask_mean(_values(self.headline), [row.cluster for row in self.headline])


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found, and what it had to generate for it."""

    scores: list[TaskScore]
    responses: int
    generated: int
    generated_tokens: int
    seconds: float
    backend: str = "hf"
    measured: bool = True
    """False: the backend was only tested against a stand-in of its library"""


@dataclass(frozen=True)
class Average:
    """A checkpoint's plain mean over tasks; benchmarks with subtasks enter by the mean of their subtasks."""

    subject: str
    tasks: tuple[str, ...]
    score: Estimate


def averages(evaluation: Evaluation) -> list[Average]:
    """One average per checkpoint that was asked more than one task; see `averages.averaged` for what it leaves out."""
    found = []
    for subject in dict.fromkeys(score.subject for score in evaluation.scores):
        own = {score.task.name: score for score in evaluation.scores if score.subject == subject}
        names = [task.name for task in averaged(score.task for score in own.values())]
        if len(names) > 1:
            parts = [own[name].by_subtask or own[name].score for name in names]
            found.append(Average(subject, tuple(names), macro_mean(parts)))
    return found


def quoted(rows: Sequence[Row], grader: str, task: Task) -> list[Row]:
    """The rows of the one number that stands for a grader, under its own names of filter and metric."""
    wanted = GRADERS[grader].headline(task)
    found = [row for row in rows if row.grader == grader and (row.filter, row.metric) == wanted]
    if not found:
        raise ValueError(f"task {task.name}: grader {grader} has no rows under its headline {wanted}")
    return found


def _values(rows: Sequence[Row]) -> np.ndarray:
    """[items]; a row without a value scores nothing."""
    return np.array([row.value or 0.0 for row in rows])


def _without_answer(rows: Sequence[Row]) -> int:
    """Responses in which the filter found no answer, cut off or not."""
    return sum(row.status in ("no_answer", "truncated") for row in rows)


def _failed(rows: Sequence[Row]) -> int:
    return sum(row.status in ("timeout", "error") for row in rows)


def table(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """HEADER, one row of text per checkpoint and task, and one per mean over subtasks or tasks."""
    lines = [HEADER]
    for score in evaluation.scores:
        limit = score.task.generation.max_tokens
        lines.append(
            (
                score.subject,
                score.task.name,
                f"{score.n} of {score.n_task}",
                *_interval(score.score),
                str(_without_answer(score.headline)),
                str(_failed(score.headline)),
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


def _interval(estimate: Estimate) -> tuple[str, str]:
    return f"{estimate.value:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"


def _average_line(subject: str, name: str, estimate: Estimate) -> tuple[str, ...]:
    return (subject, name, str(estimate.n), *_interval(estimate), *[""] * 5)


def closing_line(evaluation: Evaluation) -> str:
    """What was generated and what came from the store, in a sentence."""
    kept = evaluation.responses - evaluation.generated
    return (
        f"generated {evaluation.generated_tokens} tokens in {evaluation.generated} responses, "
        f"{evaluation.seconds:.1f} s; "
        f"{kept} of {evaluation.responses} responses were stored already"
        f"{'' if evaluation.measured else f'; backend {evaluation.backend}: not measured, tested with a stand-in'}"
    )


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """For machines: scores in [0, 1], counts, and every grader, filter and metric."""
    return {
        "scores": [_score_json(score) for score in evaluation.scores],
        "averages": [
            {"subject": average.subject, "tasks": list(average.tasks), **estimate_json(average.score)}
            for average in averages(evaluation)
        ],
        "responses": evaluation.responses,
        "generated": evaluation.generated,
        "generated_tokens": evaluation.generated_tokens,
        "seconds": evaluation.seconds,
        "backend": evaluation.backend,
        "measured": evaluation.measured,
    }


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """Score and interval, and what kind of interval it is."""
    return {"score": estimate.value, "low": estimate.low, "high": estimate.high, "interval": estimate.method}


def graders_json(rows: Sequence[Row], task: Task) -> dict[str, Any]:
    """grader -> the number that stands beside the headline, and the mean of every filter and metric it gave."""
    graders = {}
    for grader in dict.fromkeys(row.grader for row in rows):
        beside = quoted(rows, grader, task)
        filters: dict[str, dict[str, list[Row]]] = {}
        for row in rows:
            if row.grader == grader:
                filters.setdefault(row.filter, {}).setdefault(row.metric, []).append(row)
        graders[grader] = {
            "metric": beside[0].metric,
            "filter": beside[0].filter,
            "score": float(_values(beside).mean()),
            "no_answer": _without_answer(beside),
            "errors": _failed(beside),
            "filters": {
                name: {metric: float(_values(own).mean()) for metric, own in metrics.items()}
                for name, metrics in filters.items()
            },
        }
    return graders


def headline_json(score: TaskScore) -> dict[str, Any]:
    """The number that is quoted first, where it comes from, and its interval."""
    return {
        **dataclasses.asdict(score.task.headline),
        **estimate_json(score.score),
        "se": score.mean.se,
        "clusters": score.mean.n_units if score.mean.clustered else None,
    }


def _score_json(score: TaskScore) -> dict[str, Any]:
    by_subtask = score.by_subtask
    return {
        "subject": score.subject,
        "checkpoint": score.checkpoint,
        "task": score.task.name,
        "n": score.n,
        "n_task": score.n_task,
        "headline": headline_json(score),
        "by_subtask": None if by_subtask is None else estimate_json(by_subtask),
        "graders": graders_json(score.rows, score.task),
        "no_answer": _without_answer(score.headline),
        "truncated_prompts": score.truncated_prompts,
        "truncated_outputs": score.truncated_outputs,
        "max_tokens": score.max_tokens,
    }
