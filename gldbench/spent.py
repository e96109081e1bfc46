"""Where the time of a run goes: seconds of each kind of job, of the start and of the report."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gldbench.jobs import Ran

KINDS = {
    "data": "make the data",
    "train": "train the models of the world",
    "logits": "store logits of the sources",
    "texts": "let the sources write responses",
    "fuse": "make fused checkpoints",
    "evaluate": "evaluate checkpoints",
}
"""first word of the name of a job -> what such jobs do"""


@dataclass(frozen=True)
class Spent:
    """Seconds of one kind of work."""

    kind: str
    """first word of the names of the jobs; or "start", "idle", "report" or "elapsed" for what is no job"""
    jobs: int
    """number of jobs; 0 if this is no job"""
    seconds: float


class Clock:
    """Measures a command: create it when the command begins, and tell it when the jobs are done."""

    def __init__(self, workers: int) -> None:
        """Starts to measure.

        Args:
            workers: number of worker processes.
        """
        self.workers = workers
        self._began = time.perf_counter()
        self._ran, self._jobs_done = Ran(), self._began

    def jobs_done(self, ran: Ran) -> None:
        """Takes the seconds of the jobs. What follows is the report."""
        self._ran, self._jobs_done = ran, time.perf_counter()

    def spent(self) -> list[Spent]:
        """The seconds so far: the start, each kind of job, workers that waited, the report, and the whole command.

        The seconds of jobs are those of all workers together, so their sum can be larger than the time that passed.
        """
        ran, now = self._ran, time.perf_counter()
        kinds: dict[str, list[float]] = {}
        for name, seconds in ran.seconds.items():
            kinds.setdefault(name.partition(" ")[0], []).append(seconds)
        jobs = [Spent(kind, len(all_seconds), sum(all_seconds)) for kind, all_seconds in kinds.items()]
        idle = self.workers * (ran.elapsed - ran.start) - sum(ran.seconds.values())
        return [
            Spent("start", 0, self._jobs_done - self._began - ran.elapsed + ran.start),
            *sorted(jobs, key=lambda s: [*KINDS, s.kind].index(s.kind)),
            Spent("idle", 0, max(0.0, idle)),
            Spent("report", 0, now - self._jobs_done),
            Spent("elapsed", 0, now - self._began),
        ]

    def words(self, kind: str) -> str:
        """What a kind of work is, for readers."""
        own = {
            "start": "start the program and its workers",
            "idle": f"waiting of the {self.workers} workers, summed",
            "report": "write the report",
            "elapsed": "the whole command",
        }
        return (own | KINDS).get(kind, kind)
