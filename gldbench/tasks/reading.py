"""What a reader returns for a row, and the prompt fields that list lettered options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LETTERS = "ABCDE"


@dataclass(frozen=True)
class Reading:
    """What a reader returns for one row."""

    item_id: str
    fields: Mapping[str, Any]
    """name -> text that replaces `{name}` in the prompt"""
    target: str
    """the gold answer; of a multiple-choice item the letter of the right option"""
    cluster: str = ""
    """name of something that it shares with other items, such as a passage; "": the subtask, or nothing"""
    golds: tuple[str, ...] = ()
    """all accepted answers, if there are several; `target` is the first"""
    choices: tuple[str, ...] = ()
    """the options; for a log-likelihood task the continuations, with the space that separates them from the prompt"""
    entry: str = ""
    """name of the function that the answer must define, if the answer is a program"""


def listed(texts: tuple[str, ...], indent: str = "") -> str:
    """Writes the options as lines "A. ...", each after `indent`."""
    return "\n".join(f"{indent}{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False))


def _in_words(letters: str) -> str:
    """ "ABCD" -> "A, B, C or D"."""
    return f"{', '.join(letters[:-1])} or {letters[-1]}"


def letter_fields(texts: tuple[str, ...]) -> dict[str, str]:
    """Makes the prompt fields that list all options of an item, whatever their number."""
    return {
        "options": listed(texts),
        "indented_options": listed(texts, " "),
        "letters": _in_words(LETTERS[: len(texts)]),
        "quoted_letters": ", ".join(f"'{letter}'" for letter in LETTERS[: len(texts)]),
    }
