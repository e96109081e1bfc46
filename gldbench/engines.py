"""The ways to run the jobs of an experiment: `ENGINES`. The results do not depend on the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from gldbench.jobs import Job, Ran, Report, not_done, run_jobs
from gldbench.ray_engine import run_on_ray
from gldfusion.errors import require_known

Engine = Callable[[Sequence[Job], int, int, Report], Ran]
"""(jobs, workers, threads of each worker, report) -> the jobs that were run, with their seconds"""


def run_serially(jobs: Sequence[Job], workers: int, threads: int, report: Report) -> Ran:
    """Runs every job that is not done in this process, one after the other.

    Args:
        jobs: all jobs, in an order in which no job comes before one that it needs.
        workers: not used; there are no workers.
        threads: torch threads.
        report: is told the state of every job.

    Returns:
        The jobs that were run, with their seconds.
    """
    pending = not_done(jobs, report)
    if not pending:
        return Ran()
    began = time.perf_counter()
    import torch  # only here: a run that has nothing left to do needs no torch

    torch.set_num_threads(threads)
    start = time.perf_counter() - began
    seconds: dict[str, float] = {}
    for job in pending.values():
        started = time.perf_counter()
        job.function(**job.arguments, progress=partial(report, job.name))
        seconds[job.name] = time.perf_counter() - started
        report(job.name, 1, 1)
    return Ran(seconds, start, time.perf_counter() - began)


ENGINES: dict[str, Engine] = {"processes": run_jobs, "serial": run_serially, "ray": run_on_ray}
"""name -> function that runs jobs"""


def engine_named(name: str) -> Engine:
    """The engine with this name.

    Raises:
        InputError: there is none.
    """
    require_known("engine", name, ENGINES)
    return ENGINES[name]
