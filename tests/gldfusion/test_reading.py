"""The readers of JSON, YAML and packed files take no damage in silence, and hostile files cost them little."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gldfusion.errors import InputError
from gldfusion.reading import (
    one_line,
    parse_json,
    read_bytes,
    read_json,
    read_json_lines,
    read_object,
    read_packed,
    shown,
)
from gldfusion.yaml_reader import parse_yaml, read_yaml

MEND = "make it again"


def _bomb(levels: int = 9) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


HOSTILE = {
    "bomb of aliases": (_bomb(), "aliases included"),
    "bomb of texts": ("a: &x " + "y" * 100_000 + "\nb: [" + "*x," * 1000 + "]", "aliases included"),
    "list in itself": ("&a [*a]", "contains itself"),
    "mapping in itself": ("&a {b: *a}", "contains itself"),
    "empty number": ('a: !!int ""', "names a type"),
    "wrong moment": ("a: !!timestamp x", "names a type"),
    "object": ("a: !!python/object/apply:os.getpid []", "names a type"),
    "5,000 digits": ("a: " + "9" * 5000, "at most 100 digits"),
    "deep list": ("[" * 3000, "more than 50 levels"),
    "deep lines": ("- " * 3000 + "a", "more than 50 levels"),
    "many values": ("- a\n" * 30_000, "more than 10000 values"),
    "large file": ("#" * 200_000, "expected at most 131072"),
    "list as a key": ("? [1]\n: 2", "unhashable"),
    "key twice": ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' is given twice"),
    "value key": ("a: =", "expected a plain value"),
    "odd hexadecimal": ("a: 0x_", "no usable value"),
    "zero byte": ("a: \0", "not allowed"),
    "half a pair": ("a: \ud800", "not allowed"),
    "half a pair, written": ('a: "\\ud800"', "surrogate pair"),
    "two documents": ("--- a\n--- b", "single document"),
    "unknown alias": ("*a", "undefined alias"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_refused_at_once_with_a_short_message(name: str) -> None:
    text, problem = HOSTILE[name]
    started = time.monotonic()
    with pytest.raises(InputError) as refused:
        parse_yaml(text, "spec.yaml")
    assert time.monotonic() - started < 5
    message = str(refused.value)
    assert message.startswith("spec.yaml")
    assert problem in message
    assert len(message.splitlines()) <= 3
    assert len(message) < 600


def test_yaml_gives_plain_values_and_a_date_stays_a_text() -> None:
    text = "a: &x {b: 1, c: [1.5, yes, null]}\nd: *x\ne: 2020-99-99\nf: {<<: *x, b: 2}\ng: 2020-01-01\n'1': x\n1: y"
    inner: dict[str, Any] = {"b": 1, "c": [1.5, True, None]}
    expected = {"a": inner, "d": inner, "e": "2020-99-99", "f": inner | {"b": 2}, "g": "2020-01-01", "1": "x", 1: "y"}
    assert parse_yaml(text, "spec.yaml") == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        *(
            (b"", "is not JSON"),
            (b"\xff\xfe\x00", "is not JSON"),
            (b'{"a": 1', "is not JSON"),
            (b"PAR1\x15", "is not JSON"),
        ),
        *((b"[" * 200_000, "levels"), (b"[" * 150 + b"]" * 150, "levels"), (b"9" * 5000, "is not JSON")),
    ],
)
def test_damaged_json_is_named_with_its_repair(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "environment.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_json(path, "environment", MEND)
    message = str(refused.value)
    assert str(path) in message
    assert problem in message
    assert message.endswith(MEND)
    assert len(message.splitlines()) <= 3


def test_json_of_another_kind_is_refused_where_an_object_is_expected(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="expected a JSON object, got a list with 2 entries"):
        read_object(tmp_path / "a.json", "environment", MEND)


def test_json_lines_name_the_damaged_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": "x\u2028y"}\n\n{"a": 2}\n')
    assert list(read_json_lines(path, "log", MEND)) == [{"a": "x\u2028y"}, {"a": 2}]
    path.write_text('{"a": 1}\n3\n')
    with pytest.raises(InputError, match=r"log.jsonl, line 2: expected a JSON object, got 3"):
        list(read_json_lines(path, "log", MEND))


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _nothing(path: Path) -> None:
    pass


def _picture(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff" * 10)


@pytest.mark.parametrize("make", [_folder, _pipe, _nothing, _picture])
@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_foreign_files_are_refused(tmp_path: Path, make: Callable[[Path], None], read: Callable[..., Any]) -> None:
    make(tmp_path / "x")
    with pytest.raises(InputError):
        read(tmp_path / "x", "recipe", MEND)


def test_a_name_of_300_characters_is_refused_and_shortened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long") as refused:
        read_bytes(tmp_path / ("n" * 300), "recipe", MEND)
    assert len(str(refused.value)) < 400


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 2049)
    assert len(read_bytes(tmp_path / "x", "recipe", MEND, largest=2049)) == 2049
    with pytest.raises(InputError, match="more than 2 KiB"):
        read_bytes(tmp_path / "x", "recipe", MEND, largest=2048)


def test_a_small_packed_file_that_unpacks_to_gigabytes_is_refused_without_memory(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunk = bytes(16 << 20)
    with (tmp_path / "bomb.gz").open("wb") as file:
        for _ in range(40):
            file.write(packer.compress(chunk))
        file.write(packer.flush())
    del chunk
    tracemalloc.start()
    with pytest.raises(InputError, match="unpacks to more than 256 MiB"):
        read_packed(tmp_path / "bomb.gz", "data file", MEND)
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("place", [0, 2, 12, 15, -6, -1])
def test_a_damaged_packed_file_is_named(tmp_path: Path, place: int) -> None:
    packed = bytearray(gzip.compress(b"text " * 1000, mtime=1))
    packed[place] ^= 0x55
    (tmp_path / "data.gz").write_bytes(packed)
    with pytest.raises(InputError, match=r"data.gz is not a whole gzip file"):
        read_packed(tmp_path / "data.gz", "data file", MEND)


def test_what_a_message_shows_of_a_value_is_short_printable_and_cheap() -> None:
    assert shown("a\x1b[31m" + "x" * 10_000_000)[:12] == "'a\\x1b[31mxx"
    assert shown([1] * 1000) == "a list with 1000 entries"
    assert shown(10**6000) == "a whole number of 19932 bits"
    assert one_line("a\n\x00b \ud800", 80) == r"a \x00b \ud800"


def test_numbers_of_many_digits_are_refused_by_json_too() -> None:
    with pytest.raises(InputError, match=r"answers.jsonl, line 3 is not JSON"):
        parse_json("9" * 5000, "answers.jsonl, line 3", MEND)


def test_reading_does_not_import_torch() -> None:
    code = "import sys, gldfusion.reading, gldfusion.yaml_reader, gldfusion.manifest; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
