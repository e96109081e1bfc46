"""Reads `predictions/<model>/<dataset>.json` of OpenCompass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gldbench.evaluate.foreign.files import leaves, read_document, text_of
from gldbench.evaluate.foreign.record import Record
from gldfusion.errors import InputError


def read(path: Path) -> list[Record]:
    """One record for each entry `"0": {"origin_prompt": ..., "prediction": ..., "gold": ...}`.

    The numbers are places in OpenCompass's own order of the data set, so the items are found by their prompts.

    Raises:
        InputError: the file is no object of such entries.
    """
    content = read_document(path)
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: expected an object with entries\nexpected predictions/<model>/<dataset>.json")
    return [_record(entry, f'{path}, entry "{key[:20]}"') for key, entry in content.items()]


def _record(entry: Any, where: str) -> Record:
    if not isinstance(entry, dict) or "prediction" not in entry or "origin_prompt" not in entry:
        raise InputError(
            f"{where} has no origin_prompt and prediction\nexpected predictions/<model>/<dataset>.json of OpenCompass"
        )
    given = entry["prediction"]
    samples = given if isinstance(given, list) else [given]
    if not samples:
        raise InputError(f"{where}: its prediction is an empty list\nwas the inference finished?")
    outputs = tuple(text_of(sample, where, "prediction") for sample in samples)
    return Record(where, outputs, texts=("\n".join(_turns(entry["origin_prompt"])),))


def _turns(prompt: Any) -> list[str]:
    """The texts of a prompt: a text, or turns `{"role": ..., "prompt": ...}`."""
    if isinstance(prompt, list):
        return [text for turn in prompt for text in leaves(turn.get("prompt") if isinstance(turn, dict) else turn)]
    return list(leaves(prompt))
