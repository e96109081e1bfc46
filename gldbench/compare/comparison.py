"""Compares two evaluated checkpoints on the same items, task by task and on average.

Rows of different environments, task versions, generation settings or grader versions are compared only if the caller
asks for it. Rows of different prompt variants are never compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gldbench.compare.across import differences, require_names
from gldbench.compare.read import ItemScores, Side, TaskRows, listed, read_side
from gldbench.schema import Estimate, Task
from gldbench.stats import PairedItems, holm, macro_mean, paired_items
from gldbench.stats.averages import BOOTSTRAP_SEED, averaged, has_strata, subtask_mean
from gldbench.tasks import DEFAULT_VARIANT, load_task
from gldfusion.errors import InputError, did_you_mean

RUN_SET = "test"
"""the set of items that is compared if the results come from `gldbench run`, whose variants are sets"""


@dataclass(frozen=True)
class MeanPair:
    """Two means and their difference."""

    a: float
    b: float
    difference: Estimate
    """b - a"""


@dataclass(frozen=True)
class TaskComparison:
    """B - A on those items of one task for which both checkpoints have a score."""

    task: Task
    metric: str
    paired: PairedItems
    by_subtask: MeanPair | None
    """means over the subtasks; None if the benchmark has no subtasks"""
    p_holm: float
    """p after Holm's correction over all compared tasks"""
    only_a: int
    """number of items that have a score only in A"""
    only_b: int
    """number of items that have a score only in B"""

    @property
    def pair(self) -> MeanPair:
        """What enters the mean over tasks: `by_subtask` if there are subtasks, else the means over items."""
        return self.by_subtask or MeanPair(self.paired.first, self.paired.second, self.paired.mean.estimate)


@dataclass(frozen=True)
class CheckpointComparison:
    """The comparison of two checkpoints, task by task and on average."""

    a: Side
    b: Side
    tasks: list[TaskComparison]
    averaged: list[str]
    """names of the tasks that enter `macro`"""
    macro: MeanPair
    """the means over tasks"""
    notes: list[str]
    """sentences for the reader: items and tasks that only one side has, environments and versions that differ"""


def compare(
    a: str,
    b: str,
    tasks: Sequence[str] = (),
    *,
    variant: str | None = None,
    across: Collection[str] = (),
    across_environments: bool = False,
    across_versions: bool = False,
) -> CheckpointComparison:
    """Compares two checkpoints by their stored rows; runs no model and no grader.

    Args:
        a: output folder of `gldbench eval`, or FOLDER:CHECKPOINT if the folder holds several checkpoints.
        b: the second checkpoint, in the same form as `a`. It may lie in the same folder.
        tasks: names of tasks; if empty, all tasks that both checkpoints have.
        variant: prompt variant, or set of a `gldbench run`. None: the only one that both have; if they share several,
            the task's default variant, or the set "test".
        across: keys of `across.ACROSS`: what the two sides may differ in; a note says so.
        across_environments: compare rows of different environments; a note says so.
        across_versions: compare rows of different versions of a task; a note says so.

    Raises:
        InputError: there are no rows to compare, or rows that must not be compared.
    """
    require_names(across)
    sides = read_side(a), read_side(b)
    names, notes = _shared_tasks(*sides, tasks)
    found, environments = [], set()
    for name in names:
        task = load_task(name)
        rows = [side.rows_of(task) for side in sides]
        notes += _check_versions(name, rows, across_versions)
        first, second = _of_variant(task, rows, variant)
        notes += differences(task, _made(first), _made(second), across)
        environments |= first.environments | second.environments
        found.append(_compare_task(task, first, second))
    notes += _check_environments(environments, across_environments)
    for item in found:
        if item.only_a or item.only_b:
            notes.append(f"{item.task.name}: {item.only_a} items have a score only in A, {item.only_b} only in B")
    adjusted = holm([item.paired.p for item in found])
    found = [dataclasses.replace(item, p_holm=p) for item, p in zip(found, adjusted, strict=True)]
    names = [task.name for task in averaged(item.task for item in found)]
    pairs = [item.pair for item in found if item.task.name in names]
    macro = MeanPair(
        a=float(np.mean([pair.a for pair in pairs])),
        b=float(np.mean([pair.b for pair in pairs])),
        difference=macro_mean([pair.difference for pair in pairs]),
    )
    return CheckpointComparison(a=sides[0], b=sides[1], tasks=found, averaged=names, macro=macro, notes=notes)


def _shared_tasks(a: Side, b: Side, wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the names of the tasks to compare, and notes on tasks that only one side has."""
    for side in (a, b):
        for name in wanted:
            if name not in side.tasks:
                raise InputError(
                    f'{side.name} has no rows of task "{name}"{did_you_mean(name, side.tasks)}\n'
                    f"it has rows of{listed(side.tasks)}"
                )
    if wanted:
        return list(dict.fromkeys(wanted)), []
    shared = [name for name in a.tasks if name in b.tasks]
    if not shared:
        raise InputError(
            "no task in common: evaluate both checkpoints on the same tasks\n"
            f"{a.name} has{listed(a.tasks)}\n{b.name} has{listed(b.tasks)}"
        )
    lone = {"A": [n for n in a.tasks if n not in shared], "B": [n for n in b.tasks if n not in shared]}
    return shared, [f"only {side} was asked {', '.join(names)}" for side, names in lone.items() if names]


def _check_versions(name: str, rows: Sequence[TaskRows], across: bool) -> list[str]:
    first, second = (own.version for own in rows)
    if first == second:
        return []
    if not across:
        raise InputError(
            f"task {name}: the rows of A are of version {first}, those of B of version {second} of the task\n"
            "evaluate the older one again, or compare all the same with --across-versions"
        )
    return [f"{name}: version {first} of the task in A is compared with version {second} in B"]


def _made(scores: ItemScores) -> dict[str, set[str]]:
    """How the scores of one side were made."""
    return {"settings": scores.settings, "grader_version": scores.grader_versions}


def _check_environments(environments: Iterable[str], across: bool) -> list[str]:
    found = ", ".join(sorted(environments))
    if "," not in found:
        return []
    if not across:
        raise InputError(
            f"the scores are from different environments ({found}): another device or library can change answers\n"
            "evaluate both in one environment, or compare all the same with --across-environments"
        )
    return [f"the scores are from different environments: {found}"]


def _of_variant(task: Task, rows: Sequence[TaskRows], wanted: str | None) -> tuple[ItemScores, ItemScores]:
    """Returns the scores of both sides under one prompt variant."""
    first, second = rows
    shared = [variant for variant in first.variants if variant in second.variants]
    chosen = task.prompt_name if wanted in (None, DEFAULT_VARIANT) else wanted
    if wanted is None and len(shared) == 1:
        (chosen,) = shared
    elif wanted is None and chosen not in shared and RUN_SET in shared:
        chosen = RUN_SET
    if chosen not in shared:
        raise InputError(
            f"task {task.name}: A was asked the prompt variants {', '.join(first.variants)}, "
            f"B was asked {', '.join(second.variants)}\nname one that both have with --variant"
        )
    return first.scores(chosen), second.scores(chosen)


def _compare_task(task: Task, first: ItemScores, second: ItemScores) -> TaskComparison:
    items = [item for item in first.values if item in second.values]
    if not items:
        raise InputError(f"task {task.name}: no item has a score in both A and B\nevaluate both with the same --limit")
    a, b = (np.array([side.values[item] for item in items]) for side in (first, second))
    clusters, strata = [first.clusters[item] for item in items], has_strata(task)
    by_subtask = None
    if strata:
        by_subtask = MeanPair(
            a=subtask_mean(a, clusters).value,
            b=subtask_mean(b, clusters).value,
            difference=subtask_mean(b - a, clusters, bounds=(-1.0, 1.0)),
        )
    return TaskComparison(
        task=task,
        metric=task.headline.metric,
        paired=paired_items(a, b, clusters, seed=BOOTSTRAP_SEED, fixed_clusters=strata),
        by_subtask=by_subtask,
        p_holm=1.0,
        only_a=len(first.values) - len(items),
        only_b=len(second.values) - len(items),
    )
