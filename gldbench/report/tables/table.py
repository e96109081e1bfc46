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

    @property
    def width(self) -> int:
        """An upper estimate of the width in CSS pixels that the table needs on the page.

        In a narrower box the page shows each line as a block of its own, so that nothing is cut.
        """
        label = max((_length(line.label, TEXT * BOLD) for line in self.lines), default=0.0)
        total = max(label, _longest_word(self.columns[0])) + SWATCH
        for place, head in enumerate(self.columns[1:]):
            cells = [line.cells[place] for line in self.lines]
            text = max((_length(cell.text, TEXT * (BOLD if cell.kind == "strong" else 1)) for cell in cells), default=0)
            note = max((_length(cell.note, NOTE) for cell in cells), default=0.0)
            total += max(text, note, _longest_word(head)) + PADDING
        return round(total)


TEXT, HEAD, NOTE = 14.0, 12.5, 11.5
"""CSS pixels: sizes of text, headings and notes in page.css.j2"""
BOLD = 1.1
"""width of bold text relative to normal text"""
PADDING, SWATCH, SORT_MARK = 16, 27, 13
"""CSS pixels beside the text of a cell, beside a label, and after the last word of a heading"""


def _length(text: str, size: float) -> float:
    """The width of a text in CSS pixels in DejaVu Sans, which is among the widest fonts of desktops."""
    return size * sum(0.33 if c in " .,:;'il|/()" else 0.84 if c in "+\N{MINUS SIGN}mw" else 0.64 for c in text)


def _longest_word(head: str) -> float:
    """The width of a heading, which breaks between words, with its sort mark."""
    words = head.split()
    return max((_length(word, HEAD) + (SORT_MARK if word == words[-1] else 0) for word in words), default=0.0)
