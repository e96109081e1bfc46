"""Reads files that may be damaged, foreign or hostile: in bounded memory and time, with errors that say how to mend it.

Every file of JSON in this project is read here; `yaml_reader` reads YAML.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gldfusion.errors import InputError, escaped

MEBIBYTE = 1 << 20
LARGEST_DOCUMENT = 64 * MEBIBYTE
"""largest JSON document, in bytes"""
LARGEST_FILE = 1024 * MEBIBYTE
"""largest file of JSON lines, in bytes"""
LARGEST_CONTENT = 256 * MEBIBYTE
"""largest content of a packed file, in bytes"""
DEEPEST = 100
"""largest number of lists and objects inside each other in JSON"""


def shown(value: Any, width: int = 80) -> str:
    """A value of a file on one line of a message: printable, and at most `width` characters long.

    It takes little time even for large values: no text longer than `width` is built.
    """
    if isinstance(value, list | tuple | dict | set):
        text = f"{'an object' if isinstance(value, dict) else 'a list'} with {len(value)} entries"
    elif isinstance(value, str):
        text = repr(value[:width])
    elif isinstance(value, int) and value.bit_length() > 4 * width:
        text = f"a whole number of {value.bit_length()} bits"
    else:
        text = repr(value)
    return one_line(text, width)


def one_line(text: str, width: int) -> str:
    """The text on one line of at most `width` characters. Control characters and half surrogate pairs are escaped."""
    line = " ".join(text[: 10 * width].split())[:width]
    return escaped(line)[:width]


def plain_line(error: BaseException) -> str:
    """The text of an error on one line, of at most 200 printable characters."""
    return one_line(str(error), 200)


def read_bytes(path: Path, what: str, mend: str, largest: int = LARGEST_FILE) -> bytes:
    """Reads a file.

    Args:
        path: the file.
        what: what the file should be, for the message: "recipe".
        mend: last line of the message: how to mend it.
        largest: the largest size that is read, in bytes.

    Raises:
        InputError: it is no ordinary file, it is too large, or it cannot be read.
    """
    try:
        if path.is_dir():
            raise InputError(f"expected a {what}, got a folder: {path}\n{mend}")
        if not path.is_file():
            raise InputError(f"{what} not found: expected a file at {path}\n{mend}")
        with path.open("rb") as file:
            content = file.read(min(path.stat().st_size, largest) + 1)  # read() reserves all that it may return
    except OSError as error:
        raise InputError(f"cannot read the {what} {shown_path(path)}: {error.strerror}\n{mend}") from None
    if len(content) > largest:
        raise InputError(f"{path} is too large for a {what}: it has more than {largest // 1024} KiB\n{mend}")
    return content


def shown_path(path: Path) -> str:
    """A path for a message; a long one is shortened."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}...{text[-90:]}"


def read_text(path: Path, what: str, mend: str, largest: int = LARGEST_DOCUMENT) -> str:
    """Reads a file of UTF-8 text. Arguments as for `read_bytes`.

    Raises:
        InputError: it cannot be read, or it is not UTF-8.
    """
    try:
        return read_bytes(path, what, mend, largest).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no {what}: it is not UTF-8 text ({error.reason})\n{mend}") from None


def read_packed(path: Path, what: str, mend: str, largest: int = LARGEST_CONTENT) -> bytes:
    """Reads the content of a gzip file. Arguments as for `read_bytes`, where `largest` is the size of the content.

    A first pass counts the content without keeping it, so a small file that unpacks to gigabytes takes no memory.

    Raises:
        InputError: it cannot be read, it is not a whole gzip file, or its content is too large.
    """
    read_bytes(path, what, mend)
    try:
        size = 0
        with gzip.open(path) as file:
            while chunk := file.read(MEBIBYTE):
                size += len(chunk)
                if size > largest:
                    raise InputError(
                        f"{path} is too large for a {what}: it unpacks to more than {largest // MEBIBYTE} MiB\n{mend}"
                    )
        with gzip.open(path) as file:
            return file.read(largest)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {plain_line(error)}\n{mend}") from None


def parse_json(text: str | bytes, where: str, mend: str) -> Any:
    """Parses one JSON value.

    Args:
        text: the JSON.
        where: what it is, for the message: "runs/a/environment.json", "answers.jsonl, line 3".
        mend: last line of the message: how to mend it.

    Raises:
        InputError: it is not JSON, it has numbers of more than 4,300 digits, or it is nested too deeply.
    """
    try:
        value = json.loads(text)
        deep = depth_over(value, DEEPEST)
    except RecursionError:
        deep, value = True, None
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {plain_line(error)}\n{mend}") from None
    if deep:
        raise InputError(f"{where} is not JSON of at most {DEEPEST} levels of lists and objects\n{mend}")
    return value


def depth_over(value: Any, deepest: int) -> bool:
    """Whether lists and dictionaries lie inside each other more than `deepest` levels."""
    level: list[Any] = [value]
    for _ in range(deepest + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


def read_json(path: Path, what: str, mend: str) -> Any:
    """Reads a JSON document. Arguments as for `read_bytes`.

    Raises:
        InputError: the file is missing, too large or damaged.
    """
    return parse_json(read_bytes(path, what, mend, LARGEST_DOCUMENT), str(path), mend)


def read_object(path: Path, what: str, mend: str) -> dict[str, Any]:
    """As `read_json`, for a document that must be an object."""
    value = read_json(path, what, mend)
    if not isinstance(value, dict):
        raise InputError(f"{path} is no {what}: expected a JSON object, got {shown(value)}\n{mend}")
    return value


def read_json_lines(path: Path, what: str, mend: str) -> Iterator[dict[str, Any]]:
    """Yields the objects of a file of JSON lines; empty lines are skipped. Arguments as for `read_bytes`.

    Raises:
        InputError: the file is missing, too large or damaged. The message names the line.
    """
    content = read_bytes(path, what, mend)
    for number, line in enumerate(content.split(b"\n"), start=1):  # splitlines would split strings at \u2028
        if line.strip():
            where = f"{path}, line {number}"
            record = parse_json(line, where, mend)
            if not isinstance(record, dict):
                raise InputError(f"{where}: expected a JSON object, got {shown(record)}\n{mend}")
            yield record
