"""What a grader takes and gives, and the status that every grader derives in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gldbench.schema import Item, Response, Status, Task


@dataclass(frozen=True)
class Grade:
    """One response's score under one filter."""

    item_id: str
    filter: str
    metric: str
    value: float
    """in [0, 1]"""
    status: Status
    reason: str
    part: str = ""
    """which part of the item, where a metric is a mean over parts: an instruction of a prompt"""

    @property
    def row_item(self) -> str:
        """What the grade is called in rows: the item, or "item#part"."""
        return f"{self.item_id}#{self.part}" if self.part else self.item_id


def always(task: Task) -> bool:
    """A grader for every task."""
    return True


def task_headline(task: Task) -> tuple[str, str]:
    """The task's own (filter, metric)."""
    return task.headline.filter, task.headline.metric


@dataclass(frozen=True)
class Grader:
    """A way to score stored responses; it generates nothing."""

    name: str
    citation: str
    grade: Callable[[Task, Sequence[Item], Sequence[Response]], list[Grade]]
    """(task, items, their responses in the same order) -> a grade per item and filter"""
    applies: Callable[[Task], bool] = always
    """whether it can grade the task at all: where it cannot, it has no rows, rather than rows of zero"""
    headline: Callable[[Task], tuple[str, str]] = task_headline
    """(filter, metric) of the one number that stands for this grader, in its own names"""


def status_of(response: Response, answered: bool) -> tuple[Status, str]:
    """Status and reason of a response that needed no code to run.

    "no_answer": the filter found none. "truncated": it found none and the output had been cut off. A cut-off output
    with an answer is "ok", and the reason says that it was cut off.
    """
    reasons = ["no answer found"] if not answered else []
    if response.truncated_output:
        reasons.append(f"the output was cut off after {response.output_tokens} tokens")
    if response.truncated_prompt:
        reasons.append("the prompt lost its beginning")
    reason = "; ".join(reasons)
    if answered:
        return "ok", reason
    return ("truncated" if response.truncated_output else "no_answer"), reason
