"""A table as plain data. The HTML page and the Markdown file show the same tables."""

from __future__ import annotations

from dataclasses import dataclass

NONE = "–"
"""text of a cell that has no number"""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    note: str = ""
    """smaller text below `text`; the Markdown file puts it in brackets"""
    kind: str = ""
    """"good", "bad", "dim" or "strong"; the page shows each in its own style"""
    level: float | None = None
    """share in [0, 1] that sets how dark the background of the cell is; None: no background"""


@dataclass(frozen=True)
class Line:
    """One row of a table. The page prints a heading above the lines of each group."""

    label: str
    cells: tuple[Cell, ...]
    group: str = ""
    method: str = ""
    """the method whose colour the page shows beside the label; empty: no colour"""


@dataclass(frozen=True)
class Table:
    """A table with its caption."""

    name: str
    """the key of the table in the templates, and its anchor on the page"""
    caption: str
    columns: tuple[str, ...]
    """headings; the first is that of the labels"""
    lines: tuple[Line, ...]
