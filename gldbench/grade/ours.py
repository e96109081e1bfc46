"""Our own grader: the judge that the task's key `scorer` names, and its marks as grades."""

from __future__ import annotations

from collections.abc import Sequence

from gldbench.grade.grader import Grade, status_of
from gldbench.grade.judges import JUDGES, Mark
from gldbench.schema import Item, Response, Task

VERSION = "6"
"""Raised with every change of rules that can change a grade.

2: one finder of answers for all judges. 3: templates are no answers, a next line must look like an answer, and outputs
have a budget. 5: two letters of which one is correct are no answer, and an item that cannot be tested has no grade.
6: a letter after which a second one is announced and cut off is no answer.
"""


def version() -> str:
    """The version of our own rules."""
    return VERSION


def grade(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
    """One grade per mark of the judge."""
    marks = JUDGES[task.scorer].judge(task, items, [response.output for response in responses])
    return [_grade(response, mark) for response, own in zip(responses, marks, strict=True) for mark in own]


def _grade(response: Response, mark: Mark) -> Grade:
    """The mark as a grade. Where the judge does not know the status, it follows from the response."""
    status, reason = status_of(response, mark.answered)
    joined = "; ".join(part for part in (mark.reason, reason) if part)
    return Grade(
        item_id=response.item_id,
        filter=mark.filter,
        metric=mark.metric,
        value=mark.value,
        status=mark.status or status,
        reason=joined,
        part=mark.part,
        how=mark.how,
        found=mark.found,
    )
