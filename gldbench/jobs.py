"""Runs jobs with dependencies in worker processes. A job whose output exists is skipped, so a run can be resumed."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, cast

from gldfusion.errors import InputError
from gldfusion.manifest import verify_manifest

Report = Callable[[str, int, int], None]
"""called with (job name, finished units, all units). A job with one unit is a whole job: 0 pending, 1 done"""

_progress: SimpleQueue[tuple[str, int, int]] | None = None


@dataclass(frozen=True)
class Job:
    """One piece of work. A worker process calls `function(**arguments, progress=...)`."""

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    done: Callable[[], bool]
    """whether the output of the job exists"""
    needs: tuple[str, ...] = ()
    """names of jobs that must be done before"""
    cost: float = field(default=1.0)
    """rough amount of work; of several jobs that could start, the one with the largest cost starts first"""


@dataclass(frozen=True)
class Ran:
    """What `run_jobs` did, and how long it took."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """seconds that each job took in its worker, by name and in the order in which the jobs ended"""
    start: float = 0.0
    """seconds until the first worker was ready"""
    elapsed: float = 0.0
    """seconds from the call to its end"""


def together(*runs: Ran) -> Ran:
    """Several calls of an engine, one after the other, as one."""
    seconds = {name: value for ran in runs for name, value in ran.seconds.items()}
    return Ran(seconds, sum(ran.start for ran in runs), sum(ran.elapsed for ran in runs))


def intact(folder: Path, what: str) -> bool:
    """Whether the folder that a job makes is there. If it is, every file of it is compared with its manifest.

    Args:
        folder: the output of a job.
        what: what it should be, for the message: "fused checkpoint".

    Raises:
        InputError: the folder is there, but a file of it is missing or damaged.
    """
    if not folder.is_dir():
        return False
    verify_manifest(folder, what, f"delete the folder {folder} and run the same command again: it is made again")
    return True


def not_done(jobs: Sequence[Job], report: Report) -> dict[str, Job]:
    """The jobs that are still to be run, by name and in their order. `report` is told the state of every job."""
    pending = {job.name: job for job in jobs if not job.done()}
    for job in jobs:
        report(job.name, 0 if job.name in pending else 1, 1)
    return pending


def run_jobs(jobs: Sequence[Job], workers: int, threads: int, report: Report) -> Ran:
    """Runs every job that is not done. Jobs start after all jobs that they need.

    Workers end when this process ends, even if it is killed.

    Args:
        jobs: all jobs, in any order.
        workers: number of worker processes.
        threads: torch threads of each worker.
        report: is told the state of every job.

    Returns:
        The jobs that were run, with their seconds.

    Raises:
        InputError: a worker process was killed.
        Exception: the error of the first job that failed. All other jobs are stopped.
    """
    pending = not_done(jobs, report)
    if not pending:
        return Ran()
    began = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    queue: SimpleQueue[tuple[str, int, int]] = context.SimpleQueue()
    stopped, stop = context.Pipe(duplex=False)
    listener = threading.Thread(target=_listen, args=(queue, stopped, report), daemon=True)
    listener.start()
    seconds: dict[str, float] = {}
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(threads, queue))
    try:
        # all workers start now: the second one does not wait until there is a second job
        starting = [pool.submit(_nothing) for _ in range(min(workers, len(pending)))]
        wait(starting, return_when=FIRST_COMPLETED)
        start = time.perf_counter() - began
        running: dict[Future[float], Job] = {}
        while pending or running:
            for job in _ready(pending, running, workers - len(running)):
                running[pool.submit(_work, job.name, job.function, dict(job.arguments))] = pending.pop(job.name)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                seconds[job.name] = future.result()
                report(job.name, 1, 1)
    except BaseException as error:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # the outputs of unfinished jobs do not exist, so the next run repeats these jobs
        if isinstance(error, BrokenProcessPool):
            raise InputError(
                "the system killed a worker process, often because memory ran out\n"
                "run the same command again to resume; --workers 1 needs the least memory"
            ) from None
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        stop.close()  # not through the queue: a killed worker may hold its lock for ever
        listener.join()
        stopped.close()
        queue.close()
    return Ran(seconds, start, time.perf_counter() - began)


def _ready(pending: Mapping[str, Job], running: Mapping[Future[float], Job], free: int) -> list[Job]:
    """At most `free` jobs whose needs are done, in order of falling cost."""
    unfinished = {*pending, *(job.name for job in running.values())}
    ready = [job for job in pending.values() if not unfinished & set(job.needs)]
    return sorted(ready, key=lambda job: -job.cost)[:free]


def _listen(queue: SimpleQueue[tuple[str, int, int]], stopped: Connection, report: Report) -> None:
    """Passes on what the workers tell, until the other end of `stopped` is closed and nothing is left."""
    told = cast(Any, queue)._reader
    while told in wait_for([told, stopped]):
        report(*queue.get())


def _start_worker(threads: int, queue: SimpleQueue[tuple[str, int, int]]) -> None:
    """Prepares a worker: it ignores Ctrl-C, ends with its parent, and has a fixed number of threads."""
    global _progress
    _progress = queue
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()
    import torch  # the parent process does not need it
    import tqdm
    import transformers

    torch.set_num_threads(threads)
    tqdm.tqdm.set_lock(threading.RLock())  # the default is a semaphore, which a killed worker would leave behind
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)


def _nothing() -> None:
    """A piece of work that only makes a worker start."""


def _work(name: str, function: Callable[..., Any], arguments: dict[str, Any]) -> float:
    """Runs a job; returns its seconds."""
    queue, started = _progress, time.perf_counter()
    assert queue is not None, "only workers that run_jobs started call this"
    function(**arguments, progress=lambda done, total: queue.put((name, done, total)))
    return time.perf_counter() - started
