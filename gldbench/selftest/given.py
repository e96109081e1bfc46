"""Cases from a file: outputs whose right grade is known, given to the headline grader of their task."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gldbench.selftest.lines import item_of, json_lines, judged, score_field, text_field
from gldbench.tasks import load_items, load_task

KEYS = ("task", "item_id", "output", "expect", "kind")
EQUAL = 1e-9
"""largest difference between a grade and the expected one"""


@dataclass(frozen=True)
class GivenCase:
    """One line of the file with the grade that its output got."""

    line: int
    task: str
    item_id: str
    output: str
    expect: float
    kind: str
    value: float | None = None
    """None where the output has no grade"""
    status: str = ""
    how: str = ""
    found: str = ""

    @property
    def missed(self) -> bool:
        """Whether the grade is not the expected one."""
        return self.value is None or not abs(self.value - self.expect) <= EQUAL


def run_cases(path: Path, data: Path | Literal["hub"]) -> list[GivenCase]:
    """Grades the outputs of a file with the headline grader of each task; several outputs per item are fine.

    Args:
        path: JSON lines {"task", "item_id", "output", "expect", "kind"}; `expect` is the right grade, in [0, 1].
        data: folder of benchmark files, or "hub".

    Raises:
        InputError: a line is not a case; the message names it.
    """
    cases = read_cases(path)
    graded = []
    for name in dict.fromkeys(case.task for case in cases):
        graded += _graded(name, [case for case in cases if case.task == name], path, data)
    return sorted(graded, key=lambda case: case.line)


def read_cases(path: Path) -> list[GivenCase]:
    """The lines of a file of cases."""
    return [
        GivenCase(
            line=number,
            task=text_field(where, record, "task"),
            item_id=text_field(where, record, "item_id"),
            output=text_field(where, record, "output"),
            expect=score_field(where, record, "expect"),
            kind=text_field(where, record, "kind"),
        )
        for number, where, record in json_lines(path, "file of cases", KEYS)
    ]


def _graded(name: str, cases: list[GivenCase], path: Path, data: Path | Literal["hub"]) -> list[GivenCase]:
    """The cases of one task."""
    task = load_task(name)
    known = {item.item_id: item for item in load_items(task, data)}
    items = [item_of(f"{path}, line {case.line}", task, known, case.item_id) for case in cases]
    grades = judged(task, items, [case.output for case in cases])
    return [
        dataclasses.replace(case, value=grade.value, status=grade.status, how=grade.how, found=grade.found)
        for case, grade in zip(cases, grades, strict=True)
    ]
