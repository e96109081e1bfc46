"""Makes prompts: fills the fields of a template, and reads worked examples for the beginning of a prompt."""

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
"""subtask ("": for all subtasks) -> the prompt's field for the worked examples -> their text"""


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """Replaces each `{name}` in `template` by the field `name`, in one pass.

    All other braces, dollar signs and backslashes stay as they are, in the template and in the fields.

    Raises:
        InputError: the template names none of the fields.
    """
    text, filled = _places(tuple(fields)).subn(lambda match: str(fields[match[1]]), template)
    if not filled:
        raise InputError(f"the prompt {template[:60]!r} names none of the fields {', '.join(sorted(fields))}")
    return text


@functools.lru_cache(maxsize=64)
def _places(names: tuple[str, ...]) -> re.Pattern[str]:
    """The expression that finds the fields; it is cached because the rows of a file have the same field names."""
    return re.compile(rf"\{{({'|'.join(re.escape(name) for name in sorted(names, key=len, reverse=True))})\}}")


def read_examples(asked: Task, data: Path | Literal["hub"], allow_changed: bool) -> tuple[Examples, bool]:
    """Reads the worked examples that the prompt of a task names.

    Returns:
        The examples, and whether their file has another checksum than task.yaml says. The examples are empty if the
        prompt names none.

    Raises:
        InputError: see `read_records`; or a row lacks a field.
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
    """The example that one row gives, without the lines before `exemplars.after`."""
    if exemplars.each:
        return fill(exemplars.each, READERS[exemplars.reader](row, record).fields if exemplars.reader else record)
    text = record[exemplars.text]
    return text.partition(exemplars.after)[2] if exemplars.after else text


def examples_for(examples: Examples, task: Task, subtask: str) -> dict[str, str]:
    """Returns the examples of one subtask; they are empty if the prompt names none.

    Raises:
        InputError: the prompt names examples, but there are none for this subtask.
    """
    if not examples:
        return {}
    own = examples.get(subtask, examples.get(""))
    if own is None:
        raise InputError(f"task {task.benchmark}: there are no worked examples for {subtask}")
    return own
