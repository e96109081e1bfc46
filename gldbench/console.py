"""Progress of jobs: bars on a terminal, a line per finished job elsewhere; nothing on standard output."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

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
