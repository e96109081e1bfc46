"""Several responses to each item: the mean over samples, and pass@k."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gldbench.evaluate.results import estimate_json
from gldbench.evaluate.task_score import TaskScore
from gldbench.schema import Row, Task
from gldbench.stats import item_mean
from gldbench.stats.averages import BOOTSTRAP_SEED, has_strata, subtask_mean

KS = (1, 2, 5, 10, 20, 50, 100)
"""the numbers of tries for which pass@k is given, as far as every item has so many samples"""


def mean_rows(by_sample: Sequence[Sequence[Row]]) -> list[Row]:
    """One row for each item, grader, filter and metric: the mean value over the samples that have one.

    The other fields are those of the first sample.

    Args:
        by_sample: the rows of the first samples of all items, those of the second samples, ...
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for rows in by_sample:
        for row in rows:
            groups.setdefault((row.item, row.grader, row.filter, row.metric), []).append(row)
    return [dataclasses.replace(own[0], value=_mean(own)) for own in groups.values()]


def _mean(rows: Sequence[Row]) -> float | None:
    """The mean of the known values; None if there is none."""
    known = [row.value for row in rows if row.value is not None]
    return sum(known) / len(known) if known else None


def sample_json(task: Task, by_sample: Sequence[TaskScore]) -> dict[str, Any]:
    """What several samples of each item show, by the headline.

    Args:
        task: the task.
        by_sample: the scores of the first samples of all items, of the second samples, ...

    Returns:
        A dictionary with the keys "most" and "fewest" (samples of an item) and "pass_at": k -> score with interval. It
        is empty if some score is neither 0 nor 1, because then no answer passes or fails. A sample without a grade is
        no try: an item that has no graded sample is left out, and k is at most the fewest graded samples of an item.
    """
    values: dict[str, list[float]] = {}
    clusters: dict[str, str] = {}
    samples = Counter(row.item for score in by_sample for row in score.headline)
    for score in by_sample:
        for row in score.graded:
            values.setdefault(row.item, []).append(float(row.value or 0.0))
            clusters[row.item] = row.cluster
    binary = all(value in (0.0, 1.0) for own in values.values() for value in own)
    tries = min(map(len, values.values()), default=0)
    ks = [k for k in KS if k <= tries] if binary else []
    return {
        "fewest": min(samples.values()),
        "most": max(samples.values()),
        "pass_at": {str(k): _pass_at(task, k, values, clusters) for k in ks},
    }


def _pass_at(task: Task, k: int, values: Mapping[str, Sequence[float]], clusters: Mapping[str, str]) -> dict[str, Any]:
    """pass@k over items with its interval; for a benchmark with subtasks, of the mean over subtasks."""
    each = np.array([pass_at_k(len(own), round(sum(own)), k) for own in values.values()])
    names = [clusters[item] for item in values]
    if has_strata(task):
        return estimate_json(subtask_mean(each, names))
    return estimate_json(item_mean(each, names, seed=BOOTSTRAP_SEED).estimate)


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that at least one of k tries passes: 1 - C(n - c, k) / C(n, k), without bias.

    Chen et al. (2021), Evaluating Large Language Models Trained on Code, arXiv:2107.03374, equation 1.

    Args:
        n: number of samples of the item.
        right: number c of samples that pass.
        k: number of tries, at most n.
    """
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)
