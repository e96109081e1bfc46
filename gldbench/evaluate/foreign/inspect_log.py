"""Reads logs of Inspect (`.eval`, `.json`) through inspect-ai's own library."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from gldbench.evaluate.foreign.files import read_file
from gldbench.evaluate.foreign.record import Record
from gldfusion.errors import InputError
from gldfusion.reading import MEBIBYTE

LARGEST_LOG = 4 * 1024 * MEBIBYTE
"""largest content of an .eval file, which is a packed archive, in bytes"""
MEND = "install it with `pip install 'gldbench[inspect]'`"


def read(path: Path) -> list[Record]:
    """One record for each sample id; its epochs are the responses.

    Raises:
        InputError: inspect-ai is not installed, the file is no log, or it holds no samples.
    """
    _require_bounded(path)
    try:
        from inspect_ai.log import read_eval_log  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("inspect_ai"):
            raise
        raise InputError(f"reading logs of Inspect needs inspect-ai, which is not installed\n{MEND}") from None
    try:
        log = read_eval_log(str(path), resolve_attachments=True)
    except Exception as error:  # the library raises what its own parsers raise, and documents nothing
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"inspect-ai cannot read {path}: {type(error).__name__} {reason}") from None
    samples = log.samples or []
    if not samples:
        raise InputError(f"{path} holds no samples (its status is {log.status})\nwas the evaluation finished?")
    groups: dict[str, list[Any]] = {}
    for sample in samples:
        groups.setdefault(str(sample.id), []).append(sample)
    return [_record(path, name, group) for name, group in groups.items()]


def _require_bounded(path: Path) -> None:
    """Checks that the file is an ordinary one of bounded size, and that it does not unpack to far more."""
    read_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST_LOG:
            raise InputError(
                f"{path} is too large for a log: it unpacks to {size // MEBIBYTE} MiB\nsplit the evaluation"
            )


def _record(path: Path, name: str, group: list[Any]) -> Record:
    ordered = sorted(group, key=lambda sample: sample.epoch)
    first = ordered[0]
    texts = [_text(first.input), *map(str, first.choices or [])]
    texts += [value for value in (first.metadata or {}).values() if isinstance(value, str)]
    outputs = tuple(sample.output.completion if sample.output is not None else "" for sample in ordered)
    return Record(f'{path}, sample "{name[:40]}"', outputs, (name,), tuple(texts))


def _text(given: Any) -> str:
    """The text of a sample's input: a text, or messages."""
    return given if isinstance(given, str) else "\n".join(message.text for message in given)
