"""What the terminal shows: tables on standard output, progress of jobs on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gldbench.jobs import Report


@contextmanager
def reporter(jobs_label: str, quiet: bool = False) -> Iterator[Report]:
    """A `Report` that draws what it is told until the block ends."""
    console = Console(stderr=True)
    if quiet:
        yield lambda name, done, total: None
    elif console.is_terminal:
        with _bars(console) as progress:
            yield _Bars(progress, jobs_label)
    else:
        yield _Lines(console)


def _bars(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=False)


class _Bars:
    """One bar for the jobs, and one for each job in flight."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.progress = progress
        self.overall = progress.add_task(label, total=0)
        self.known: dict[str, bool] = {}
        self.bars: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        finished = total == 1 and done == 1
        self.known[name] = self.known.get(name, False) or finished
        self.progress.update(self.overall, total=len(self.known), completed=sum(self.known.values()))
        if finished and name in self.bars:
            self.progress.remove_task(self.bars.pop(name))
        elif total > 1:
            if name not in self.bars:
                self.bars[name] = self.progress.add_task(f"  {name}", total=total)
            self.progress.update(self.bars[name], completed=done, total=total)


class _Lines:
    """A line when a job that was pending is done."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = time.monotonic()
        self.known: dict[str, bool] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        if total != 1:
            return
        if done and self.known.get(name) is False:
            finished = 1 + sum(self.known.values())
            elapsed = time.monotonic() - self.started
            self.console.print(f"[{elapsed:6.0f} s] {finished}/{len(self.known)} {name}", highlight=False, markup=False)
        self.known[name] = bool(done)


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
