"""Reads training texts: files of several formats, data sets of the Hugging Face hub, and mixtures of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gldfusion.conversations import EXPECTED, example_of
from gldfusion.errors import InputError
from gldfusion.paths import EXAMPLE_LINE, require_data
from gldfusion.reading import one_line, plain_line, shown
from gldfusion.recipe import DataPart
from gldfusion.sources import Example

Located = tuple[str, int, Any]
"""where a record is, for messages; its number in the file, from 0; the record"""


def load_examples(parts: Sequence[DataPart], seed: int = 0) -> list[Example]:
    """Reads the data of a recipe.

    Without weights, all examples of all parts follow each other. With weights, the mixture is as large as it can be
    without repeating an example: part i has the share weight_i / (sum of weights), up to rounding. The examples of a
    part are drawn without replacement, and keep their order.

    Args:
        parts: files or data sets of the hub; see `recipe.DataPart`.
        seed: seed of the draws. A smaller share draws a subset of what a larger one draws.

    Raises:
        InputError: a part cannot be read, or its share holds no example.
    """
    read = [_read(part) for part in parts]
    if len(parts) == 1:
        return read[0]
    named = [
        [replace(e, id=f"{part.name}/{e.id}") for e in examples] for part, examples in zip(parts, read, strict=True)
    ]
    weights = np.array([part.weight or 0.0 for part in parts])
    if not weights.any():
        return [example for examples in named for example in examples]
    sizes = mixture_sizes([len(examples) for examples in read], weights / weights.sum())
    out = []
    for number, (part, examples, size) in enumerate(zip(parts, named, sizes, strict=True)):
        if size == 0:
            raise InputError(
                f"the share of {part.name} in the mixture holds no example: the smallest part limits the mixture\n"
                "give it a larger weight, or the others smaller ones"
            )
        chosen = np.sort(np.random.default_rng([seed, number]).permutation(len(examples))[:size])
        out += [examples[i] for i in chosen.tolist()]
    return out


def mixture_sizes(sizes: Sequence[int], shares: np.ndarray) -> list[int]:
    """How many examples of each part a mixture takes: the largest numbers with these shares that repeat nothing.

    Args:
        sizes: number of examples of each part.
        shares: share of each part, with the sum 1.
    """
    whole = min(size / share for size, share in zip(sizes, shares, strict=True))
    return [min(size, round(whole * share)) for size, share in zip(sizes, shares, strict=True)]


def _read(part: DataPart) -> list[Example]:
    return [example for example, _ in _located_examples(part)]  # without the records, which take as much memory


def record_examples(part: DataPart) -> list[tuple[Example, Any]]:
    """The examples of a file or of a data set of the hub, each with its record.

    Raises:
        InputError: see `read_examples`.
    """
    return list(_located_examples(part))


def _located_examples(part: DataPart) -> Iterator[tuple[Example, Any]]:
    if part.path is None:
        return _examples(hub_records(part), part.name)
    require_data(part.path)
    return _examples(FORMATS.get(part.path.suffix, _json_records)(part.path), str(part.path))


def read_examples(path: Path) -> list[Example]:
    """Reads examples from a file: JSON lines, a JSON array, parquet (.parquet) or Arrow (.arrow, .feather).

    A record has "prompt" and "response", or "messages", or "conversations" (ShareGPT); see docs/fusing.md. "id" is
    optional. Empty lines and a byte order mark are skipped.

    Raises:
        InputError: the file does not exist, cannot be read, has no examples, or has a record of another form. The
            message names the line or row.
    """
    return _read(DataPart(path=path))


def _examples(records: Iterator[Located], what: str) -> Iterator[tuple[Example, Any]]:
    empty = True
    for where, number, record in records:
        try:
            example = example_of(record, str(number))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else plain_line(error)
            known = record if isinstance(record, Mapping) else {}
            expected = next((form for key, form in EXPECTED.items() if key in known), EXAMPLE_LINE)
            raise InputError(f"{where}: {reason}\nexpected {expected}, got {_written(record)!r}") from None
        yield example, record
        empty = False
    if empty:
        raise InputError(f"{what} holds no examples\nexpected JSON lines {EXAMPLE_LINE}")


def _written(record: Any) -> str:
    """The beginning of a record as JSON."""
    try:
        return one_line(json.dumps(record, ensure_ascii=False, default=str), 80)
    except (ValueError, RecursionError):  # it is nested too deeply
        return shown(record)


def _json_records(path: Path) -> Iterator[Located]:
    """The records of JSON lines, or of a JSON array."""
    try:
        with path.open("rb") as file:
            first = file.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
            file.seek(0)
            yield from _array(path, file.read()) if first == b"[" else _lines(path, file)
    except OSError as error:
        raise InputError(f"cannot read the training data {path}: {error.strerror}\ngive another file") from None


def _lines(path: Path, file: Iterator[bytes]) -> Iterator[Located]:
    for number, line in enumerate(file):  # a binary file has no other line ends than \n, which JSON strings cannot hold
        text = _decoded(path, line.removeprefix(b"\xef\xbb\xbf") if not number else line).strip("\n")
        if text.strip():
            yield f"{path}, line {number + 1}", number, _parsed(f"{path}, line {number + 1}", text)


def _array(path: Path, content: bytes) -> Iterator[Located]:
    text = _decoded(path, content.removeprefix(b"\xef\xbb\xbf"))
    records = _parsed(str(path), text)
    for number, record in enumerate(records if isinstance(records, list) else [records]):
        yield f"{path}, entry {number + 1}", number, record


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason})\nexpected JSON lines {EXAMPLE_LINE}") from None


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {plain_line(error)}\nexpected {EXAMPLE_LINE}, got {one_line(text, 80)!r}") from None


def _table_records(path: Path) -> Iterator[Located]:
    """The rows of a parquet or Arrow file. Missing fields are None there, so fields that are None are left out."""
    import pyarrow

    number = 0
    try:
        for batch in _batches(path):
            for row in batch.to_pylist():
                yield f"{path}, row {number + 1}", number, without_none(row)
                number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{path} cannot be read as {path.suffix.removeprefix('.')}: {plain_line(error)}\n"
            f"write the file again, or give JSON lines {EXAMPLE_LINE}"
        ) from None


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow
    from pyarrow import ipc, parquet

    if path.suffix == ".parquet":
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            yield from file.iter_batches(use_threads=False)
        return
    with pyarrow.memory_map(str(path)) as file:
        try:
            reader = ipc.open_file(file)
        except pyarrow.ArrowInvalid:  # `datasets` writes streams
            file.seek(0)
            yield from ipc.open_stream(file)
        else:
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))


def without_none(value: Any) -> Any:
    """A record without the fields that are None, also in its lists and objects."""
    if isinstance(value, dict):
        return {name: without_none(inner) for name, inner in value.items() if inner is not None}
    return [without_none(inner) for inner in value] if isinstance(value, list) else value


def hub_records(part: DataPart) -> Iterator[Located]:
    """The rows of a data set of the hub, through `datasets`, which keeps a copy on disk.

    Raises:
        InputError: it cannot be loaded.
    """
    for number, row in enumerate(_hub_rows(part)):
        yield f"{part.name}, row {number + 1}", number, without_none(dict(row))


def hub_files(part: DataPart) -> list[Path]:
    """The files in which `datasets` keeps its copy of a data set of the hub.

    Raises:
        InputError: it cannot be loaded.
    """
    return [Path(file["filename"]) for file in _hub_rows(part).cache_files]


def _hub_rows(part: DataPart) -> Any:
    from datasets import load_dataset  # takes a second to import
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(str(part.hub), part.subset, split=part.split, revision=part.revision)
    except (OSError, ValueError, DatasetsError) as error:
        raise InputError(
            f"the data set {part.name} cannot be loaded from the hub: {plain_line(error)}\n"
            "check the name, subset, split and revision, the network and HF_HUB_OFFLINE, or give a file with `path`"
        ) from None


FORMATS: dict[str, Callable[[Path], Iterator[Located]]] = {
    ".parquet": _table_records,
    ".arrow": _table_records,
    ".feather": _table_records,
}
"""suffix of a file -> function that reads its records. All other files are JSON"""
