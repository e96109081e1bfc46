"""Averages over subtasks and tasks as the paper computes them: plain means, in which each score has equal weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gldbench.schema import Estimate, Task
from gldbench.stats import item_mean, macro_mean

BOOTSTRAP_SEED = 0
MIN_STRATUM = 10
"""a subtask needs at least this many items for its own interval; with fewer, the combined interval is too narrow"""


def has_strata(task: Task) -> bool:
    """Tells whether the clusters of a task are all of its subtasks: fixed strata, not a sample of subtasks."""
    return bool(task.subtasks) and not task.subtask


def subtask_mean(values: np.ndarray, clusters: Sequence[str], bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """Averages the mean scores of the subtasks, with a stratified interval: items are drawn, subtasks are fixed.

    A small --limit can leave a subtask with fewer than `MIN_STRATUM` items, too few to estimate its variance. The
    interval then treats the subtasks themselves as drawn at random, which makes it wider.

    Args:
        values: [items] scores.
        clusters: [items] the subtask of each item.
        bounds: smallest and largest possible score.
    """
    names = np.asarray(clusters, dtype=str)
    strata = {name: values[names == name] for name in dict.fromkeys(clusters)}
    if min(len(own) for own in strata.values()) < MIN_STRATUM:
        means = np.array([own.mean() for own in strata.values()])
        drawn = item_mean(means, list(strata), seed=BOOTSTRAP_SEED, bounds=bounds).estimate
        method = f"as if {len(means)} subtasks were drawn: some have fewer than {MIN_STRATUM} items"
        return Estimate(value=drawn.value, low=drawn.low, high=drawn.high, n=len(values), method=method)
    parts = [item_mean(own, [""] * len(own), seed=BOOTSTRAP_SEED, bounds=bounds) for own in strata.values()]
    return macro_mean([part.estimate for part in parts])


def averaged(tasks: Iterable[Task]) -> list[Task]:
    """Selects the tasks that enter one average.

    No item counts twice: a subtask is left out if its whole benchmark is among the tasks. Log-likelihood tasks are not
    averaged with generated answers: they are left out if any other task is there.
    """
    tasks = list(tasks)
    whole = {task.name for task in tasks if not task.subtask}
    distinct = [task for task in tasks if not (task.subtask and task.benchmark in whole)]
    return [task for task in distinct if task.kind == "generation"] or distinct
