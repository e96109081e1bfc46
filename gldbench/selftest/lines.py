"""Outputs from files: reads lines of JSON that name a task and an item, and grades them by the task's headline."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gldbench.grade import GRADERS
from gldbench.grade.answers import MARKED
from gldbench.grade.judges.judge import LENIENT
from gldbench.grade.rows import bare_response
from gldbench.schema import Item, Task
from gldfusion.errors import InputError, did_you_mean
from gldfusion.reading import parse_json, read_bytes


@dataclass(frozen=True)
class Judged:
    """The headline grade of one output."""

    value: float | None
    """in [0, 1]; None where the grader could not grade the output, which `reason` then explains"""
    strict: float | None
    """the same, where only a marked answer counts"""
    lenient: float | None
    """the same, where an answer counts that any of our rules finds"""
    status: str
    how: str
    found: str
    reason: str


def json_lines(path: Path, what: str, keys: Sequence[str]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """(number of the line, its place for messages, its fields) of every line that is not empty.

    Args:
        path: file of JSON lines.
        what: what the file should be, for the message: "file of cases".
        keys: fields that every line must have.

    Raises:
        InputError: there is no such file, it is empty, or a line is no JSON object with these fields.
    """
    mend = "give the path of a file with lines " + json.dumps(dict.fromkeys(keys, "..."))
    number = empty = 0
    for number, line in enumerate(read_bytes(path, what, mend).split(b"\n"), start=1):
        if not line.strip():
            empty += 1
            continue
        where = f"{path}, line {number}"
        record: Any = parse_json(line, where, "expected one JSON object in each line")
        missing = [key for key in keys if not isinstance(record, Mapping) or key not in record]
        if missing:
            raise InputError(f'{where} has no key "{missing[0]}"\nexpected the keys {", ".join(keys)}')
        yield number, where, record
    if number == empty:
        raise InputError(f"{path} holds no lines\nexpected lines with the keys {', '.join(keys)}")


def text_field(where: str, record: Mapping[str, Any], key: str) -> str:
    """A field that must be a text. An output of null is an empty text, as in `gldbench score`.

    Raises:
        InputError: the field has another type.
    """
    value = record[key]
    if key == "output" and value is None:
        return ""
    if key == "item_id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{where}: {key}: expected a text, got {value!r:.60}")
    return value


def score_field(where: str, record: Mapping[str, Any], key: str) -> float:
    """A field that must be a score from 0 to 1; true and false count as 1 and 0.

    Raises:
        InputError: the field is no such number.
    """
    value = record[key]
    if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
        raise InputError(f"{where}: {key}: expected a number from 0 to 1, got {value!r:.60}")
    return float(value)


def item_of(where: str, task: Task, known: Mapping[str, Item], item_id: str) -> Item:
    """The item with this id.

    Raises:
        InputError: the task has no such item.
    """
    if item_id not in known:
        raise InputError(
            f'{where}: task {task.name} has no item "{item_id}"{did_you_mean(item_id, known)}\n'
            "the file must use the item ids of the task's data file: tasks/README.md says what they are"
        )
    return known[item_id]


def judged(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[Judged]:
    """The headline grades of outputs in their order. An item may have several outputs."""
    own = [dataclasses.replace(item, item_id=f"{item.item_id}~{number}") for number, item in enumerate(items)]
    responses = [bare_response(item, output) for item, output in zip(own, outputs, strict=True)]
    headline = task.headline
    found: dict[str, Any] = {}
    loose: dict[str, float] = {}
    for grade in GRADERS[headline.grader].grade(task, own, responses):
        if (grade.metric, grade.part) == (headline.metric, ""):
            if grade.filter == headline.filter:
                found[grade.item_id] = grade
            elif grade.filter == LENIENT and grade.value is not None:
                loose[grade.item_id] = grade.value
    grades = [found[item.item_id] for item in own]
    return [
        Judged(
            value=grade.value,
            strict=grade.value if grade.value is None or grade.how in (*MARKED, "") else 0.0,
            lenient=None if grade.value is None else max(grade.value, loose.get(grade.item_id, 0.0)),
            status=grade.status,
            how=grade.how,
            found=grade.found,
            reason=grade.reason,
        )
        for grade in grades
    ]
