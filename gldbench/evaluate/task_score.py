"""The score of one checkpoint on one task, from its rows: the mean of the headline, its interval, and counts.

A row without a value is a response that a grader could not grade. It enters no mean, and `ungraded` counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gldbench.grade import GRADERS
from gldbench.grade.answers import MARKED
from gldbench.grade.judges.judge import BASE
from gldbench.schema import Estimate, Row, Task
from gldbench.stats import ItemMean, item_mean
from gldbench.stats.averages import BOOTSTRAP_SEED, has_strata, subtask_mean
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

    @property
    def graded(self) -> list[Row]:
        """The rows of the headline that have a value. Only they enter a mean."""
        return [row for row in self.headline if row.value is not None]

    @property
    def ungraded(self) -> int:
        """Number of responses that the grader of the headline could not grade."""
        return len(self.headline) - len(self.graded)

    @cached_property
    def mean(self) -> ItemMean | None:
        """The mean of the headline over the graded items, with a standard error and an interval that respect clusters.

        None where the grader could grade no item.

        Raises:
            InputError: no row has the task's headline.
        """
        rows = self.headline
        if not rows:
            wanted, given = self.task.headline, {f"{row.grader}/{row.filter}/{row.metric}" for row in self.rows}
            raise InputError(
                f"task {self.task.name}: its headline is {wanted.grader}/{wanted.filter}/{wanted.metric}, but the "
                f"grader {wanted.grader} gave no {wanted.metric} under the filter {wanted.filter}\n"
                f"set headline in its task.yaml to one of {', '.join(sorted(given))}"
            )
        graded = self.graded
        if not graded:
            return None
        return item_mean(_values(graded), [row.cluster for row in graded], seed=BOOTSTRAP_SEED)

    @property
    def score(self) -> Estimate | None:
        """The mean of the headline with its interval; `Estimate.method` names the kind of interval.

        None where the grader could grade no item.
        """
        return self.mean and self.mean.estimate

    @cached_property
    def by_subtask(self) -> Estimate | None:
        """The mean of the scores of the subtasks, with a stratified interval; None if the task has no subtasks.

        It is None too where some subtask has no graded item: the mean would be that of other subtasks.
        """
        graded = self.graded
        if not has_strata(self.task) or {row.cluster for row in graded} != {row.cluster for row in self.headline}:
            return None
        return subtask_mean(_values(graded), [row.cluster for row in graded])

    @cached_property
    def bracket(self) -> tuple[float, float] | None:
        """The headline where only marked answers count, and where any rule that finds an answer counts.

        The lenient end takes the last number, option or line, and whatever rule a harness's own grader has. IFEval has
        no answer to find, hence no bracket. Items that the grader of the headline could not grade are left out.
        """
        graded = self.graded
        if self.task.scorer == "ifeval" or not graded:
            return None
        strict = [row.value or 0.0 if row.how in (*MARKED, "") else 0.0 for row in graded]
        best = {row.item: row.value or 0.0 for row in graded}
        for row in self.rows:
            comparable = row.metric == "f1" if self.task.headline.metric == "f1" else row.metric not in ("f1", "em")
            if row.item in best and comparable and row.filter != BASE:  # fewer tests are no other way to find an answer
                best[row.item] = max(best[row.item], row.value or 0.0)
        return float(np.mean(strict)), float(np.mean(list(best.values())))

    @property
    def notes(self) -> list[str]:
        """What a reader has to know: graders that gave no grade, or that differ from the headline by over 5 points."""
        own, found = self.score, []
        for grader in dict.fromkeys(row.grader for row in self.rows):
            rows = quoted(self.rows, grader, self.task)
            score, without = known_mean(rows), ungraded(rows)
            if without:
                found.append(
                    f"{self.task.name}: the grader {grader} gives {without} of {len(rows)} items no grade, which its "
                    f"score leaves out; the first says: {next(row.reason for row in rows if row.value is None)}"
                )
            if score is not None and own is not None and abs(score - own.value) > DISAGREE:
                found.append(
                    f"{self.task.name}: the grader {grader} gives {score:.3f}, "
                    f"{self.task.headline.grader} gives {own.value:.3f}; "
                    "`gldbench items` shows what each of them found"
                )
        return found

    @property
    def without_answer(self) -> int:
        """Number of responses in which the headline's filter found no answer."""
        return without_answer(self.headline)

    @property
    def failed(self) -> int:
        """Number of responses with the status "timeout" or "error" under the headline."""
        return failed(self.headline)


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
    """[items] the scores of graded rows."""
    return np.array([row.value for row in rows], dtype=float)


def known_mean(rows: Sequence[Row]) -> float | None:
    """The mean of the rows that have a value. None where none has: the grader could grade no response."""
    values = [row.value for row in rows if row.value is not None]
    return float(np.mean(values)) if values else None


def ungraded(rows: Sequence[Row]) -> int:
    """Number of rows without a value: responses that the grader could not grade."""
    return sum(row.value is None for row in rows)


def without_answer(rows: Sequence[Row]) -> int:
    """Number of responses in which the grader found no answer."""
    return sum(row.status in ("no_answer", "truncated") for row in rows)


def failed(rows: Sequence[Row]) -> int:
    """Number of responses with the status "timeout" or "error"."""
    return sum(row.status in ("timeout", "error") for row in rows)
