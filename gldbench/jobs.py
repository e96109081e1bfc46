"""Jobs with dependencies, run by worker processes; a job whose output is there is done, so a repeated run goes on."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait as wait_for
from multiprocessing.queues import SimpleQueue
from typing import Any

from gldfusion.errors import InputError

Report = Callable[[str, int, int], None]
"""(job name, units done, units in all)"""

_progress: SimpleQueue[tuple[str, int, int] | None] | None = None


@dataclass(frozen=True)
class Job:
    """One piece of work: `function(**arguments, progress=...)` in a worker process."""

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    done: Callable[[], bool]
    needs: tuple[str, ...] = ()
    cost: float = field(default=1.0)
    """rough share of the work: long jobs start first"""


def run_jobs(jobs: Sequence[Job], workers: int, threads: int, report: Report) -> list[str]:
    """Runs every job that is not done, dependencies first; returns the names of those that were run.

    The first failure stops the rest and is raised here. Workers die with this process.
    """
    pending = {job.name: job for job in jobs if not job.done()}
    for job in jobs:
        report(job.name, 0 if job.name in pending else 1, 1)
    if not pending:
        return []
    context = multiprocessing.get_context("spawn")
    queue: SimpleQueue[tuple[str, int, int] | None] = context.SimpleQueue()
    listener = threading.Thread(target=_listen, args=(queue, report), daemon=True)
    listener.start()
    ran: list[str] = []
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(threads, queue))
    try:
        running: dict[Future[None], Job] = {}
        while pending or running:
            for job in _ready(pending, running, workers - len(running)):
                running[pool.submit(_work, job.name, job.function, dict(job.arguments))] = pending.pop(job.name)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                future.result()
                ran.append(job.name)
                report(job.name, 1, 1)
    except BaseException as error:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # a job in flight is abandoned: its output is not there, so the next run redoes it
        if isinstance(error, BrokenProcessPool):
            raise InputError(
                "a worker process was killed (often: out of memory)\n"
                "run the same command again: it goes on where it was"
            ) from None
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        queue.put(None)
        listener.join()
        queue.close()
    return ran


def _ready(pending: Mapping[str, Job], running: Mapping[Future[None], Job], free: int) -> list[Job]:
    """Jobs whose needs are done, the costliest first."""
    unfinished = {*pending, *(job.name for job in running.values())}
    ready = [job for job in pending.values() if not unfinished & set(job.needs)]
    return sorted(ready, key=lambda job: -job.cost)[:free]


def _listen(queue: SimpleQueue[tuple[str, int, int] | None], report: Report) -> None:
    while (message := queue.get()) is not None:
        report(*message)


def _start_worker(threads: int, queue: SimpleQueue[tuple[str, int, int] | None]) -> None:
    """Pins threads, leaves Ctrl-C to the parent, and dies with it."""
    global _progress
    _progress = queue
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()
    import torch  # the parent need not load it
    import tqdm
    import transformers

    torch.set_num_threads(threads)
    tqdm.tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a killed worker would leave behind
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)


def _work(name: str, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    queue = _progress
    assert queue is not None, "jobs run in workers started by run_jobs"
    function(**arguments, progress=lambda done, total: queue.put((name, done, total)))
