"""Cases from a file: outputs whose right grade is known, given to the headline grader of their task."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any, Literal

from gldbench.grade import GRADERS
from gldbench.grade.rows import bare_response
from gldbench.schema import Item
from gldbench.tasks import load_items, load_task
from gldfusion.errors import InputError, did_you_mean
from gldfusion.files import require_file

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
    value: float = 0.0
    status: str = ""
    how: str = ""
    found: str = ""

    @property
    def missed(self) -> bool:
        """Whether the grade is not the expected one."""
        return not abs(self.value - self.expect) <= EQUAL  # an item without a grade has the value NaN


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
    require_file(path, "file of cases", "give the path of a file with lines " + json.dumps(dict.fromkeys(KEYS, "...")))
    cases = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line.strip():
            cases.append(_case(f"{path}, line {number}", number, line))
    if not cases:
        raise InputError(f"{path} holds no cases\nexpected lines with the keys {', '.join(KEYS)}")
    return cases


def _case(where: str, number: int, line: bytes) -> GivenCase:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from None
    missing = [key for key in KEYS if not isinstance(record, Mapping) or key not in record]
    if missing:
        raise InputError(f'{where} has no key "{missing[0]}"\nexpected the keys {", ".join(KEYS)}')
    expect = record["expect"]
    if isinstance(expect, bool) or not isinstance(expect, int | float) or not 0 <= expect <= 1:
        raise InputError(f"{where}: expect: expected a grade from 0 to 1, got {expect!r}")
    return GivenCase(
        line=number,
        task=str(record["task"]),
        item_id=str(record["item_id"]),
        output=str(record["output"]),
        expect=float(expect),
        kind=str(record["kind"]),
    )


def _graded(name: str, cases: list[GivenCase], path: Path, data: Path | Literal["hub"]) -> list[GivenCase]:
    """The cases of one task. Each one's item gets a name of its own, so that an item may have several outputs."""
    task = load_task(name)
    known: dict[str, Item] = {item.item_id: item for item in load_items(task, data)}
    for case in cases:
        if case.item_id not in known:
            raise InputError(
                f'{path}, line {case.line}: task {name} has no item "{case.item_id}"{did_you_mean(case.item_id, known)}'
            )
    items = [dataclasses.replace(known[case.item_id], item_id=f"{case.item_id}~{case.line}") for case in cases]
    responses = [bare_response(item, case.output) for item, case in zip(items, cases, strict=True)]
    headline = task.headline
    grades = {
        grade.item_id: grade
        for grade in GRADERS[headline.grader].grade(task, items, responses)
        if (grade.filter, grade.metric, grade.part) == (headline.filter, headline.metric, "")
    }
    own = [grades[item.item_id] for item in items]
    return [
        dataclasses.replace(
            case,
            value=nan if grade.value is None else grade.value,
            status=grade.status,
            how=grade.how,
            found=grade.found,
        )
        for case, grade in zip(cases, own, strict=True)
    ]
