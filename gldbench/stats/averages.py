"""Averages as the paper computes them: the plain mean of scores, whatever the number of their items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gldbench.schema import Estimate, Task
from gldbench.stats import item_mean, macro_mean
from gldfusion.errors import InputError

BOOTSTRAP_SEED = 0
MIN_STRATUM = 10
"""items from which a subtask's own interval can be made; with one item each, that of their mean would be too narrow"""


def has_strata(task: Task) -> bool:
    """Whether the task's clusters are its subtasks, all of which are there: fixed strata, not a sample of subtasks."""
    return bool(task.subtasks) and not task.subtask


def subtask_mean(values: np.ndarray, clusters: Sequence[str], bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """The mean over subtasks of their mean scores; the interval is stratified: items vary, the subtasks stay.

    Where a subtask has fewer than `MIN_STRATUM` items, as under a small --limit, its own variance cannot be told: then
    the interval is that of subtasks drawn at random, which is wider.
    """
    names = np.asarray(clusters, dtype=str)
    strata = {name: values[names == name] for name in dict.fromkeys(clusters)}
    if min(len(own) for own in strata.values()) < MIN_STRATUM:
        means = np.array([own.mean() for own in strata.values()])
        drawn = item_mean(means, list(strata), seed=BOOTSTRAP_SEED, bounds=bounds).estimate
        method = f"as if {len(means)} subtasks were drawn: some have fewer than {MIN_STRATUM} items"
        return Estimate(drawn.value, drawn.low, drawn.high, len(values), method)
    parts = [item_mean(own, [""] * len(own), seed=BOOTSTRAP_SEED, bounds=bounds) for own in strata.values()]
    return macro_mean([part.estimate for part in parts])


def averaged(tasks: Iterable[Task]) -> list[Task]:
    """The tasks that one average may hold: no item twice, and no log-likelihoods beside generated answers.

    A subtask is left out where its whole benchmark is there; log-likelihood tasks are averaged only among themselves.
    """
    tasks = list(tasks)
    whole = {task.name for task in tasks if not task.subtask}
    distinct = [task for task in tasks if not (task.subtask and task.benchmark in whole)]
    return [task for task in distinct if task.kind == "generation"] or distinct


def published_average(tasks: Iterable[Task]) -> dict[str, float]:
    """model -> plain mean of its published scores over all subtasks of `tasks`: the last row of the paper's Table 3.

    Raises:
        InputError: a model has no score where another has one.
    """
    rows = {f"{task.name}/{subtask}": scores for task in tasks for subtask, scores in task.published.items()}
    models = {model for scores in rows.values() for model in scores}
    for name, scores in rows.items():
        if models - scores.keys():
            raise InputError(f"no published score of {', '.join(sorted(models - scores.keys()))} on {name}")
    return {model: sum(scores[model] for scores in rows.values()) / len(rows) for model in sorted(models)}
