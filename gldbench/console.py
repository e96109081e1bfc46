"""Output of the terminal: tables on standard output, progress of jobs on standard error."""

from __future__ import annotations

import shutil
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Reporter(Protocol):
    """A `jobs.Report` that can also print a line."""

    def __call__(self, name: str, done: int, total: int) -> None:
        """See `jobs.Report`."""
        ...

    def say(self, line: str) -> None:
        """Prints one line on standard error, above the bars if there are any. Long lines are not broken."""
        ...


@contextmanager
def reporter(label: str) -> Iterator[Reporter]:
    """Yields a `Reporter` that shows progress: bars on a terminal, else one line for each finished job.

    Args:
        label: text beside the bar of all jobs.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        with _bars(console) as progress:
            yield _Bars(progress, label)
    else:
        yield _Lines(console)


def _bars(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=False)


class _Bars:
    """Draws one bar for all jobs, and one for each running job."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.progress = progress
        self.overall = progress.add_task(label, total=0)
        self.known: dict[str, bool] = {}
        """job -> whether it is done"""
        self.bars: dict[str, TaskID] = {}

    def say(self, line: str) -> None:
        """See `Reporter.say`."""
        self.progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, name: str, done: int, total: int) -> None:
        ended = self.known.get(name, False)
        self.known[name] = ended or done == total
        self.progress.update(self.overall, total=len(self.known), completed=sum(self.known.values()))
        if (done, total) == (1, 1) and name in self.bars:
            self.progress.remove_task(self.bars.pop(name))
        elif total > 1 and not ended:  # the last progress of a job can arrive after its end
            if name not in self.bars:
                self.bars[name] = self.progress.add_task(f"  {name}", total=total)
            self.progress.update(self.bars[name], completed=done, total=total)


class _Lines:
    """Prints a line when a job ends, and every half minute one that says how far a job is."""

    EVERY = 30.0
    """seconds between two lines on jobs that are not done"""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = self.said = time.monotonic()
        self.known: dict[str, bool] = {}

    def say(self, line: str) -> None:
        """See `Reporter.say`."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, name: str, done: int, total: int) -> None:
        if total != 1:
            now = time.monotonic()
            if total > 1 and now - self.said >= self.EVERY:
                self.said = now
                line = f"[{now - self.started:6.0f} s] {name}: {done} of {total}"
                self.console.print(line, highlight=False, markup=False)
            return
        if done and self.known.get(name) is False:
            finished = 1 + sum(self.known.values())
            elapsed = time.monotonic() - self.started
            self.console.print(f"[{elapsed:6.0f} s] {finished}/{len(self.known)} {name}", highlight=False, markup=False)
        self.known[name] = bool(done)


def print_rows(header: Sequence[str], *rows: Sequence[str]) -> None:
    """Prints aligned columns. Cells that begin with a digit or a sign are aligned right, other cells left."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for number, row in enumerate((header, *rows)):
        print("  ".join(_aligned(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def _aligned(cell: str, width: int) -> str:
    number = cell[:1].isdigit() or cell[:1] in "+-−±."
    return cell.rjust(width) if number and len(cell) < width else cell.ljust(width)


def print_wrapped(text: str, indent: int = 0, label: str = "", hang: int = 0) -> None:
    """Prints text in lines of at most 100 columns, or the width of a narrower terminal.

    Args:
        text: the text.
        indent: columns before the text, or before its label.
        label: a word in a column of its own, 12 wide, before the text.
        hang: columns of the text that begin only in its first line, for example a label that is part of the text.
    """
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    first = " " * indent + (f"{label:<12}" if label else "")
    print(
        textwrap.fill(
            text, width, initial_indent=first, subsequent_indent=" " * (len(first) + hang), break_on_hyphens=False
        )
    )


def print_table(table: dict[str, Any]) -> None:
    """Prints a `report.summary_table`: the title, the rows below the headings of their groups, and the notes."""
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
