"""The results of an evaluation: for each checkpoint and task a score, its interval, and counts of what went wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gldbench.evaluate.task_score import TaskScore, failed, known_mean, quoted, ungraded, without_answer
from gldbench.schema import Estimate, Row, Task
from gldbench.stats import macro_mean
from gldbench.stats.averages import averaged


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
    """Averages each checkpoint that was asked more than one task. `stats.averages.averaged` says which tasks enter.

    There is no average where some task has no score, because the mean of the other tasks is another number.
    """
    found = []
    for subject in dict.fromkeys(score.subject for score in evaluation.scores):
        own = {score.task.name: score for score in evaluation.scores if score.subject == subject}
        names = [task.name for task in averaged(score.task for score in own.values())]
        parts = [part for name in names if (part := own[name].by_subtask or own[name].score) is not None]
        if len(names) > 1 and len(parts) == len(names):
            found.append(Average(subject, tuple(names), macro_mean(parts)))
    return found


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


def estimate_json(estimate: Estimate | None) -> dict[str, Any]:
    """A score with the ends and the kind of its interval, as JSON types. Each is null where there is no score."""
    if estimate is None:
        return dict.fromkeys(("score", "low", "high", "interval"))
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
            "score": known_mean(headline),
            "no_answer": without_answer(headline),
            "errors": failed(headline),
            "ungraded": ungraded(headline),
            "filters": {
                name: {metric: known_mean(own) for metric, own in metrics.items()} for name, metrics in filters.items()
            },
        }
    return graders


def headline_json(score: TaskScore) -> dict[str, Any]:
    """The headline of a task: grader, filter and metric, the score with interval, bracket and standard error.

    "ungraded" is the number of items that have no grade, which all these numbers leave out.
    """
    mean = score.mean
    return {
        **dataclasses.asdict(score.task.headline),
        **estimate_json(score.score),
        "strict": score.bracket[0] if score.bracket else None,
        "lenient": score.bracket[1] if score.bracket else None,
        "se": mean and mean.se,
        "clusters": mean.n_units if mean and mean.clustered else None,
        "ungraded": score.ungraded,
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
