"""A table as plain data; the page, the Markdown and the command line print the same ones."""

from __future__ import annotations

from dataclasses import dataclass

NONE = "–"
"""Stands where there is no number."""


@dataclass(frozen=True)
class Cell:
    """One entry."""

    text: str
    note: str = ""
    """smaller, beneath it"""
    kind: str = ""
    """"good", "bad", "dim" or "strong" """
    level: float | None = None
    """a share in [0, 1] that tints the background"""


@dataclass(frozen=True)
class Line:
    """One row; lines of one group stand under a common heading."""

    label: str
    cells: tuple[Cell, ...]
    group: str = ""
    method: str = ""
    """the method whose colour the label carries, or empty"""


@dataclass(frozen=True)
class Table:
    """A table with its caption."""

    name: str
    caption: str
    columns: tuple[str, ...]
    """the first heads the labels"""
    lines: tuple[Line, ...]
