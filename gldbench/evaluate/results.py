"""The results of an evaluation: for each checkpoint and task a score, its interval, and counts of what went wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gldbench.grade import GRADERS
from gldbench.grade.answers import MARKED
from gldbench.grade.judges.judge import BASE
from gldbench.schema import Estimate, Row, Task
from gldbench.stats import ItemMean, item_mean, macro_mean
from gldbench.stats.averages import BOOTSTRAP_SEED, averaged, has_strata, subtask_mean
from gldfusion.errors import InputError

DISAGREE = 0.05
"""difference of two graders' scores from which the results say so"""


@dataclass(frozen=True)
class TaskScore:
    """The result of one checkpoint on one task."""

    subject: str
    checkpoint: str
    task: Task
    n: int
    """number of items that were asked"""
    n_task: int
    """number of items of the whole task"""
    rows: list[Row]
    truncated_prompts: int
    truncated_outputs: int
    max_tokens: int
    """token limit of an answer; it is below the limit of the task if the context of the checkpoint is short"""

    def under(self, grader: str, filter_name: str, metric: str) -> list[Row]:
        """Returns the rows of one grader, filter and metric, one per item."""
        return [row for row in self.rows if (row.grader, row.filter, row.metric) == (grader, filter_name, metric)]

    @property
    def headline(self) -> list[Row]:
        """The rows of the task's headline, the number that is quoted first."""
        return self.under(self.task.headline.grader, self.task.headline.filter, self.task.headline.metric)

    @cached_property
    def mean(self) -> ItemMean:
        """The mean of the headline over items, with a standard error and an interval that respect clusters."""
        rows = self.headline
        if not rows:
            wanted, given = self.task.headline, {f"{row.grader}/{row.filter}/{row.metric}" for row in self.rows}
            raise InputError(
                f"task {self.task.name}: its headline is {wanted.grader}/{wanted.filter}/{wanted.metric}, but the "
                f"grader {wanted.grader} gave no {wanted.metric} under the filter {wanted.filter}\n"
                f"set headline in its task.yaml to one of {', '.join(sorted(given))}"
            )
        return item_mean(_values(rows), [row.cluster for row in rows], seed=BOOTSTRAP_SEED)

    @property
    def score(self) -> Estimate:
        """The mean of the headline with its interval; `Estimate.method` names the kind of interval."""
        return self.mean.estimate

    @cached_property
    def by_subtask(self) -> Estimate | None:
        """The mean of the scores of the subtasks, with a stratified interval; None if the task has no subtasks."""
        if not has_strata(self.task):
            return None
        return subtask_mean(_values(self.headline), [row.cluster for row in self.headline])

    @cached_property
    def bracket(self) -> tuple[float, float] | None:
        """The headline where only marked answers count, and where any rule that finds an answer counts.

        The lenient end takes the last number, option or line, and whatever rule a harness's own grader has. IFEval has
        no answer to find, hence no bracket.
        """
        if self.task.scorer == "ifeval":
            return None
        headline = self.headline
        strict = [row.value or 0.0 if row.how in (*MARKED, "") else 0.0 for row in headline]
        best = {row.item: row.value or 0.0 for row in headline}
        for row in self.rows:
            comparable = row.metric == "f1" if self.task.headline.metric == "f1" else row.metric not in ("f1", "em")
            if row.item in best and comparable and row.filter != BASE:  # fewer tests are no other way to find an answer
                best[row.item] = max(best[row.item], row.value or 0.0)
        return float(np.mean(strict)), float(np.mean(list(best.values())))

    @property
    def notes(self) -> list[str]:
        """What a reader has to know about the graders: those that differ from the headline by more than 5 points."""
        own, found = self.score.value, []
        for grader in dict.fromkeys(row.grader for row in self.rows):
            rows = quoted(self.rows, grader, self.task)
            score, failed = _known_mean(rows), sum(row.value is None for row in rows)
            if failed:
                found.append(
                    f"{self.task.name}: the grader {grader} gives {failed} of {len(rows)} items no grade, which its "
                    f"score leaves out; the first says: {next(row.reason for row in rows if row.value is None)}"
                )
            if score is not None and abs(score - own) > DISAGREE:
                found.append(
                    f"{self.task.name}: the grader {grader} gives {score:.3f}, "
                    f"{self.task.headline.grader} gives {own:.3f}; "
                    "`gldbench items` shows what each of them found"
                )
        return found

    @property
    def without_answer(self) -> int:
        """Number of responses in which the headline's filter found no answer."""
        return _without_answer(self.headline)

    @property
    def failed(self) -> int:
        """Number of responses whose grading ended with a timeout or an error, under the headline."""
        return _failed(self.headline)


@dataclass(frozen=True)
class Evaluation:
    """The scores of an evaluation, and what had to be generated for them."""

    scores: list[TaskScore]
    responses: int
    generated: int
    generated_tokens: int
    seconds: float
    backend: str = "hf"
    measured: bool = True
    """False: the backend was only tested with a stand-in for its library"""
    remote_code: bool = False
    """code that the checkpoints brought was allowed to run"""


@dataclass(frozen=True)
class Average:
    """The plain mean of a checkpoint's scores over tasks; for a benchmark with subtasks, the mean over them counts."""

    subject: str
    tasks: tuple[str, ...]
    score: Estimate


def averages(evaluation: Evaluation) -> list[Average]:
    """Averages each checkpoint that was asked more than one task. `stats.averages.averaged` says which tasks enter."""
    found = []
    for subject in dict.fromkeys(score.subject for score in evaluation.scores):
        own = {score.task.name: score for score in evaluation.scores if score.subject == subject}
        names = [task.name for task in averaged(score.task for score in own.values())]
        if len(names) > 1:
            parts = [own[name].by_subtask or own[name].score for name in names]
            found.append(Average(subject, tuple(names), macro_mean(parts)))
    return found


def quoted(rows: Sequence[Row], grader: str, task: Task) -> list[Row]:
    """Returns the rows of the one number that represents a grader, under the grader's own names.

    Raises:
        ValueError: there are no such rows.
    """
    wanted = GRADERS[grader].headline(task)
    found = [row for row in rows if row.grader == grader and (row.filter, row.metric) == wanted]
    if not found:
        raise ValueError(f"task {task.name}: grader {grader} has no rows under its headline {wanted}")
    return found


def _values(rows: Sequence[Row]) -> np.ndarray:
    """[items] the scores; a row without a value counts as 0."""
    return np.array([row.value or 0.0 for row in rows])


def _known_mean(rows: Sequence[Row]) -> float | None:
    """The mean of the rows that have a value. None where none has: another harness failed on all of them."""
    values = [row.value for row in rows if row.value is not None]
    return float(np.mean(values)) if values else None


def _without_answer(rows: Sequence[Row]) -> int:
    return sum(row.status in ("no_answer", "truncated") for row in rows)


def _failed(rows: Sequence[Row]) -> int:
    return sum(row.status in ("timeout", "error") for row in rows)


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON types: scores in [0, 1], counts, and the numbers of every grader, filter and metric."""
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
        "trust_remote_code": evaluation.remote_code,
    }


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """A score with the ends and the kind of its interval, as JSON types."""
    return {"score": estimate.value, "low": estimate.low, "high": estimate.high, "interval": estimate.method}


def graders_json(rows: Sequence[Row], task: Task) -> dict[str, Any]:
    """For each grader the one number that represents it, and the mean of every filter and metric, as JSON types."""
    graders = {}
    for grader in dict.fromkeys(row.grader for row in rows):
        headline = quoted(rows, grader, task)
        filters: dict[str, dict[str, list[Row]]] = {}
        for row in rows:
            if row.grader == grader:
                filters.setdefault(row.filter, {}).setdefault(row.metric, []).append(row)
        graders[grader] = {
            "metric": headline[0].metric,
            "filter": headline[0].filter,
            "score": _known_mean(headline),
            "no_answer": _without_answer(headline),
            "errors": _failed(headline),
            "filters": {
                name: {metric: _known_mean(own) for metric, own in metrics.items()} for name, metrics in filters.items()
            },
        }
    return graders


def headline_json(score: TaskScore) -> dict[str, Any]:
    """The headline of a task: grader, filter and metric, the score with interval, bracket and standard error."""
    return {
        **dataclasses.asdict(score.task.headline),
        **estimate_json(score.score),
        "strict": score.bracket[0] if score.bracket else None,
        "lenient": score.bracket[1] if score.bracket else None,
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
        "no_answer": score.without_answer,
        "notes": score.notes,
        "truncated_prompts": score.truncated_prompts,
        "truncated_outputs": score.truncated_outputs,
        "max_tokens": score.max_tokens,
        "variant": score.headline[0].variant,
        "task_version": score.task.version,
        "settings": json.loads(score.headline[0].settings or "null"),
        "grader_versions": {row.grader: row.grader_version for row in score.rows},
    }
