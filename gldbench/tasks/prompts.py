"""Prompts: fields put into templates literally, and the worked examples that stand before a question."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from gldbench.schema import Exemplars, Task
from gldbench.tasks.data import Record, read_records
from gldbench.tasks.readers import READERS
from gldfusion.errors import InputError

Examples = dict[str, dict[str, str]]
"""subtask ("" = any) -> the prompt's field that stands for its worked examples -> their text"""


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """Puts the fields into `template` in one pass; braces and dollars around and inside them stay as they are."""
    text, filled = _places(tuple(fields)).subn(lambda match: str(fields[match[1]]), template)
    if not filled:
        raise InputError(f"the prompt {template[:60]!r} names none of the fields {', '.join(sorted(fields))}")
    return text


@functools.lru_cache(maxsize=64)
def _places(names: tuple[str, ...]) -> re.Pattern[str]:
    """Where a template names fields: made once for all rows of a file, which have the same fields."""
    return re.compile(rf"\{{({'|'.join(re.escape(name) for name in sorted(names, key=len, reverse=True))})\}}")


def read_examples(asked: Task, data: Path | Literal["hub"], allow_changed: bool) -> tuple[Examples, bool]:
    """The worked examples that the task's prompt names, and whether their file is not the one meant.

    Raises:
        InputError: as `read_records`.
    """
    exemplars = asked.exemplars
    if exemplars is None or f"{{{exemplars.fills}}}" not in asked.prompt:
        return {}, False
    found = read_records(asked, exemplars.file, exemplars, data, allow_changed)
    texts: dict[str, list[str]] = {}
    for row, record in enumerate(found.rows):
        try:
            if all(record[name] in values for name, values in exemplars.where.items()):
                subtask = str(record.get(asked.dataset.subtask, "")) if asked.dataset.subtask else ""
                texts.setdefault(subtask, []).append(_example(exemplars, row, record))
        except KeyError as error:
            raise InputError(f"task {asked.benchmark}: row {row} of {exemplars.file} has no {error}") from None
    return {key: {exemplars.fills: exemplars.between.join(parts)} for key, parts in texts.items()}, found.changed


def _example(exemplars: Exemplars, row: int, record: Record) -> str:
    """One row's text, without the canary line that guards the file."""
    if exemplars.each:
        return fill(exemplars.each, READERS[exemplars.reader](row, record).fields if exemplars.reader else record)
    text = record[exemplars.text]
    return text.partition(exemplars.after)[2] if exemplars.after else text


def examples_for(examples: Examples, task: Task, subtask: str) -> dict[str, str]:
    """The examples of one subtask: {} where the prompt names none, and an InputError where they are missing."""
    if not examples:
        return {}
    own = examples.get(subtask, examples.get(""))
    if own is None:
        raise InputError(f"task {task.benchmark}: there are no worked examples for {subtask}")
    return own
