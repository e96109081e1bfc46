"""Makes text that a model or its program chose safe to store, to print and to put into Markdown."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def well_formed(text: str) -> str:
    """The text with U+FFFD in the place of each half surrogate pair, which no file can store as UTF-8."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def printable(text: str) -> str:
    r"""The text with `\x1b` in the place of an escape character, and so on. Lines and tabs stay.

    Control characters move the cursor and change the colours of a terminal, and half surrogate pairs cannot be stored.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def markdown(text: str) -> str:
    """The text for Markdown, where it can open no HTML tag."""
    return _TAG.sub("&lt;", printable(text))


def table_cell(text: str) -> str:
    """The text for a cell of a Markdown table, which it cannot leave."""
    return text.replace("|", r"\|").replace("\n", " ")
