"""Our own grader: a judge of whole outputs, or the last match of a filter's expression in the task's normal form."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gldbench.grade.grader import Grade, status_of
from gldbench.grade.judges import JUDGES
from gldbench.grade.judges.normal_forms import SCORERS
from gldbench.grade.programs.functions import run_answers
from gldbench.schema import Item, Response, Task

METRIC = "exact_match"


def extract(pattern: str, output: str) -> str | None:
    """Group 1 of the last match, without the spaces around it; None where there is no match or only spaces."""
    found = re.findall(pattern, output)
    return (found[-1].strip() or None) if found else None


def grade(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
    """A grade per filter and item."""
    if task.scorer in JUDGES and not task.patterns:  # "code" is both: of world tasks a pattern finds the program
        return _judged(task, items, responses)
    scorer, grades = SCORERS[task.scorer], []
    for name, pattern in task.patterns.items():
        answers = [extract(pattern, response.output) for response in responses]
        verdicts = {}
        if scorer.code:
            given = {item.item_id: answer for item, answer in zip(items, answers, strict=True) if answer is not None}
            verdicts = run_answers({item.item_id: item for item in items}, given)
        for item, response, answer in zip(items, responses, answers, strict=True):
            status, reason = status_of(response, answer is not None)
            value = float(answer is not None and scorer.normalise(answer) == scorer.normalise(item.target))
            if item.item_id in verdicts:
                value, status, reason = verdicts[item.item_id]
            grades.append(Grade(item.item_id, name, METRIC, value, status, reason))
    return grades


def _judged(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
    """The marks of the task's judge as grades."""
    marks = JUDGES[task.scorer].judge(task, items, [response.output for response in responses])
    grades = []
    for item, response, own in zip(items, responses, marks, strict=True):
        for mark in own:
            status, reason = status_of(response, mark.answered)
            reason = "; ".join(part for part in (mark.reason, reason) if part)
            status = mark.status or status
            grades.append(Grade(item.item_id, mark.filter, mark.metric, mark.value, status, reason, mark.part))
    return grades
