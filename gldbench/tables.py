"""Tables on standard output: aligned text on a terminal or in a pipe, no colours to strip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def print_rows(header: Sequence[str], *rows: Sequence[str]) -> None:
    """Columns aligned by their widest cell; the first left, cells that begin with a digit or sign right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for number, row in enumerate((header, *rows)):
        print("  ".join(_aligned(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def _aligned(cell: str, width: int) -> str:
    number = cell[:1].isdigit() or cell[:1] in "+-−±."
    return cell.rjust(width) if number and len(cell) < width else cell.ljust(width)


def print_table(table: dict[str, Any]) -> None:
    """A `report.summary_table`: title, rows under their group headings, notes."""
    print(f"\n{table['title']}\n")
    rows: list[Sequence[str]] = []
    for index, row in enumerate(table["rows"]):
        group = table["groups"][index]
        if index == 0 or group != table["groups"][index - 1]:
            rows.append([f"[{group}]", *[""] * (len(row) - 1)])
        rows.append([f"  {row[0]}", *row[1:]])
    print_rows(table["columns"], *rows)
    print()
    for note in table["notes"]:
        if note:
            print(note)
    print()
