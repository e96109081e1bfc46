"""What a grader takes and gives, and the status that all graders derive in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gldbench.schema import Item, Response, Status, Task


@dataclass(frozen=True)
class Grade:
    """The score of one response under one filter and metric."""

    item_id: str
    filter: str
    metric: str
    value: float | None
    """in [0, 1]; None where there is no grade. A response that fails has the value 0: its program crashes, exceeds a
    limit or needs a missing module, or the response is too long to parse. A grader that fails, or leaves the item out,
    gives None: the response may be right or wrong, so that no mean may count it"""
    status: Status
    reason: str
    part: str = ""
    """which part of the item is graded (an instruction of an IFEval prompt), where the metric is a mean over parts"""
    how: str = ""
    """how the answer was found, as in `cues.How`; "" where the grader does not tell"""
    found: str = ""
    """the answer as the output writes it, where the grader tells"""

    @property
    def row_item(self) -> str:
        """The item's name in rows: the item id, or "item id#part"."""
        return f"{self.item_id}#{self.part}" if self.part else self.item_id


def always(task: Task) -> bool:
    """True: the grader applies to every task."""
    return True


def unversioned() -> str:
    """ "": the grader's rules have no version."""
    return ""


def always_there() -> str:
    """ "": the grader needs nothing that has to be set up."""
    return ""


def same_rules(task: Task) -> str:
    """ "": the version alone says which rules a grader applies to a task."""
    return ""


def task_headline(task: Task) -> tuple[str, str]:
    """The (filter, metric) that the task itself names as its headline."""
    return task.headline.filter, task.headline.metric


@dataclass(frozen=True)
class Grader:
    """The way in which one harness grades the stored responses to a task. It generates nothing."""

    grade: Callable[[Task, Sequence[Item], Sequence[Response]], list[Grade]]
    """(task, items, their responses in the same order) -> at least one grade for each item"""
    version: Callable[[], str] = unversioned
    """the version of its rules: rows of different versions do not compare"""
    rules: Callable[[Task], str] = same_rules
    """what decides the rules for a task beside the version, such as the name and hash of a configuration"""
    missing: Callable[[], str] = always_there
    """why the grader cannot be used on this machine, and how to change that; "" where it can"""
    applies: Callable[[Task], bool] = always
    """whether it can grade the task. A task to which it does not apply gets no rows, and no scores of zero"""
    headline: Callable[[Task], tuple[str, str]] = task_headline
    """(filter, metric) of the one number that stands for this grader, under the grader's own names"""


def status_of(response: Response, answered: bool) -> tuple[Status, str]:
    """Status and reason of a response, where grading it runs no code.

    Args:
        response: the graded response.
        answered: whether an answer was found in it.

    Returns:
        "ok" where an answer was found. Without an answer: "truncated" where the output was cut off, else "no_answer".
        The reason says what is missing, and whether the output or the prompt was cut off.
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
