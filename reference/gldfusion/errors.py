"""Errors that a user can mend. The command line prints them without a traceback and exits with code 2."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

LONGEST_LINE = 2000
"""characters of a line of a message"""
_LONG_WORD = re.compile(r"(\S{400})\S+")


class InputError(ValueError):
    """Something is wrong with what the user gave.

    The message has one to three lines: what was expected, what came, and how to mend it. It may quote files that others
    wrote, so control characters are escaped, and long words and lines are cut.
    """

    def __init__(self, message: str) -> None:
        lines = (_LONG_WORD.sub(r"\1...", line)[:LONGEST_LINE] for line in message.split("\n"))
        super().__init__("\n".join(map(escaped, lines)))


def escaped(text: str) -> str:
    """The text with control characters and half surrogate pairs in the form of Python's escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `' (did you mean "steps"?)'`, or an empty string if no known word resembles `word`."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def require_known(what: str, name: str, known: Iterable[str]) -> None:
    """Checks that `name` is one of the `known` names.

    Args:
        what: what is named, for the message: "grader", "backend".

    Raises:
        InputError: it is not. The message lists the known names and suggests a similar one.
    """
    names = list(known)
    if name not in names:
        raise InputError(f'no {what} is called "{name}"{did_you_mean(name, names)}\nknown: {", ".join(names)}')
