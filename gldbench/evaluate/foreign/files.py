"""What readers of foreign formats share: texts, ids, and the kind of a file's first record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gldfusion.errors import InputError
from gldfusion.reading import parse_json, read_bytes, shown

ID_FIELDS = ("task_id", "id", "unique_id", "key", "idx", "question_id", "ID")
"""names of fields in which data sets keep the ids of their items"""
MEND = "was the file written and copied whole? --format says of which harness it is"


def read_file(path: Path) -> bytes:
    """The bytes of a file, without a byte order mark.

    Raises:
        InputError: the file cannot be read.
    """
    return read_bytes(path, "file of responses", MEND).removeprefix(b"\xef\xbb\xbf")


def read_document(path: Path) -> Any:
    """The JSON value in a file.

    Raises:
        InputError: it cannot be read, or it is not JSON.
    """
    return parse_json(read_file(path), str(path), MEND)


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (place, object) for each line of a file of JSON lines. Empty lines are skipped.

    Raises:
        InputError: a line is not a JSON object.
    """
    for number, line in enumerate(read_file(path).split(b"\n"), start=1):  # splitlines would split strings at \u2028
        if line.strip():
            where = f"{path}, line {number}"
            value = parse_json(line, where, MEND)
            if not isinstance(value, dict):
                raise InputError(f"{where}: expected a JSON object, got {shown(value)}\n{MEND}")
            yield where, value


def first_object(path: Path) -> dict[str, Any] | None:
    """The first JSON object of a file: its first line, or the whole document. None if there is none."""
    content = read_file(path).strip()
    for text in (content.partition(b"\n")[0], content):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


def text_of(value: Any, where: str, name: str) -> str:
    """A text of a file; null counts as an empty one.

    Raises:
        InputError: it is something else.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} must be a text, got {shown(value)}\nis --format right?")
    # JSON may hold half of a surrogate pair, which no text can hold
    return value.encode("utf-8", "replace").decode()


def leaves(value: Any) -> Iterator[str]:
    """Yields all texts in a JSON value, in order."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            stack.extend(reversed(list(one.values())))
        elif isinstance(one, list):
            stack.extend(reversed(one))


def ids_of(row: dict[str, Any]) -> tuple[str, ...]:
    """What may be the id of a row of a data set."""
    found = [row[name] for name in ID_FIELDS if name in row]
    return tuple(str(value) for value in found if isinstance(value, str | int) and not isinstance(value, bool))
