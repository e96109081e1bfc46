"""Runs jobs on a Ray cluster: on this machine, or on all machines of a cluster that see the same folders.

The cluster is the one that RAY_ADDRESS names. Without it, a cluster of this machine alone is started and ended.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from gldbench.jobs import Job, Ran, Report, not_done
from gldfusion.errors import InputError

POLL = 0.2
"""seconds between two looks at the progress of the workers"""
TRIES = 2
"""how often a job is started whose worker is killed"""


def run_on_ray(jobs: Sequence[Job], workers: int, threads: int, report: Report) -> Ran:
    """Runs every job that is not done as a task of Ray. Jobs start after all jobs that they need.

    On a cluster with GPUs each job takes one. A job whose worker or node dies is repeated once, and a line on standard
    error names it. The outputs of jobs are written whole or not at all, so a repeated job gives what it would have
    given.

    Args:
        jobs: all jobs, in any order.
        workers: number of workers of a cluster that is started here. A cluster that exists runs as many jobs at once
            as its processors allow.
        threads: torch threads of each worker, and processors that each job takes.
        report: is told the state of every job.

    Returns:
        The jobs that were run, with their seconds.

    Raises:
        InputError: Ray is not installed, no cluster answers, or a worker of the same job was killed twice.
        Exception: the error of the first job that failed. All other jobs are stopped.
    """
    if find_spec("ray") is None:
        raise InputError("the engine ray needs the package ray\ninstall it: pip install 'gldbench[ray]'")
    pending = not_done(jobs, report)
    if not pending:
        return Ran()
    began = time.perf_counter()
    started_here = _connect(workers * threads)
    import ray  # pyright: ignore[reportMissingImports]  an extra

    try:
        start = time.perf_counter() - began
        seconds = _Tasks(pending, threads, report).run()
        return Ran(seconds, start, time.perf_counter() - began)
    finally:
        if started_here:
            ray.shutdown()


def _connect(processors: int) -> bool:
    """Joins the cluster of RAY_ADDRESS, or starts one on this machine. Returns whether this call connected.

    Raises:
        InputError: no cluster answers at RAY_ADDRESS.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # pyright: ignore[reportMissingImports]  an extra

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        ray.init(num_cpus=processors, include_dashboard=False, **quiet)
        return True
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"no Ray cluster answers at {address}, which RAY_ADDRESS names: {' '.join(str(error).split())[:160]}\n"
            "start it with `ray start --head`, or unset RAY_ADDRESS to use this machine alone"
        ) from None
    return True


class _Tasks:
    """The tasks of one call of `run_on_ray`."""

    def __init__(self, pending: dict[str, Job], threads: int, report: Report) -> None:
        import ray  # pyright: ignore[reportMissingImports]  an extra

        self.ray, self.pending, self.report = ray, pending, report
        self.running: dict[Any, Job] = {}
        self.tries: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.told = ray.remote(num_cpus=0)(_Told).remote()
        gpus = 1 if ray.cluster_resources().get("GPU") else 0  # Ray hides all GPUs from a task that asks for none
        self.task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(_work)
        self.threads = threads

    def run(self) -> Mapping[str, float]:
        """Starts every job when its needs are done, until all are done. Returns the seconds of each."""
        try:
            while self.pending or self.running:
                self._start_ready()
                done, _ = self.ray.wait(list(self.running), timeout=POLL)
                for state in self.ray.get(self.told.take.remote()):
                    self.report(*state)
                for reference in done:
                    self._end(reference)
        except BaseException:
            for reference in self.running:
                self.ray.cancel(reference, force=True)  # unfinished outputs do not exist: the next run repeats them
            raise
        return self.seconds

    def _start_ready(self) -> None:
        unfinished = {*self.pending, *(job.name for job in self.running.values())}
        ready = [job for job in self.pending.values() if not unfinished & set(job.needs)]
        for job in sorted(ready, key=lambda job: -job.cost):
            self._start(self.pending.pop(job.name))

    def _start(self, job: Job) -> None:
        self.tries[job.name] = self.tries.get(job.name, 0) + 1
        call = self.task.options(name=job.name)
        self.running[call.remote(job.name, job.function, dict(job.arguments), self.threads, self.told)] = job

    def _end(self, reference: Any) -> None:
        """Takes the result of a task that has ended. Starts it again if its worker was killed for the first time."""
        errors = self.ray.exceptions
        job = self.running.pop(reference)
        try:
            self.seconds[job.name] = self.ray.get(reference)
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            if self.tries[job.name] >= TRIES:
                raise InputError(
                    f"the job {job.name} lost its worker {TRIES} times ({type(error).__name__}), often because memory "
                    "ran out\nrun the same command again to resume; give Ray fewer processors, so that fewer jobs run "
                    "at once"
                ) from None
            print(f"warning: the worker of the job {job.name} was killed: the job is repeated", file=sys.stderr)
            self._start(job)
            return
        self.report(job.name, 1, 1)


class _Told:
    """An actor that keeps what workers say about their progress until it is taken."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[str, int, int]] = {}

    def say(self, name: str, done: int, total: int) -> None:
        """Keeps the last state of a job."""
        self.states[name] = (name, done, total)

    def take(self) -> list[tuple[str, int, int]]:
        """Returns the states since the last call."""
        states, self.states = list(self.states.values()), {}
        return states


def _work(name: str, function: Callable[..., Any], arguments: dict[str, Any], threads: int, told: Any) -> float:
    """Runs a job in a worker of Ray; returns its seconds."""
    import torch

    torch.set_num_threads(threads)
    started = time.perf_counter()
    function(**arguments, progress=lambda done, total: told.say.remote(name, done, total))
    return time.perf_counter() - started
