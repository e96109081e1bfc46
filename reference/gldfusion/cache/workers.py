"""Fills one cache with several worker processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch

from gldfusion.cache.build import build_cache
from gldfusion.examples import load_examples
from gldfusion.pool import worker_context, worker_pool
from gldfusion.progress import Progress
from gldfusion.recipe import DataPart

LARGEST, SMALLEST, PARTS = 2048, 64, 4
"""Largest and smallest number of texts per shard, and number of shards per worker. With several shards per worker, all
workers end at about the same time."""

_reports: SimpleQueue[tuple[int, int] | None] | None = None


def build_with_workers(
    data: Sequence[DataPart], seed: int, workers: int, progress: Progress | None = None, **arguments: Any
) -> int:
    """Runs `build_cache(examples=load_examples(data, seed), **arguments)` in several processes.

    If `arguments` name no device, worker w runs on CUDA device w modulo the number of devices. Workers on the CPU share
    its cores evenly. The workers end with this process; what they stored is kept.

    Args:
        data: the data of a recipe.
        seed: seed of the draws of a mixture.
        workers: number of processes.
        progress: called with (texts stored by now, texts that were missing at the start).
        arguments: for `build_cache`.

    Returns:
        How many texts were run.

    Raises:
        InputError: see `build_cache`; or a worker was killed.
    """
    texts = len(load_examples(data, seed))
    size = min(LARGEST, max(SMALLEST, -(-texts // (PARTS * workers))))
    context = worker_context(__name__)
    reports = context.SimpleQueue()
    listener = threading.Thread(target=_listen, args=(reports, progress), daemon=True)
    listener.start()
    mend = "run the same command again with fewer workers: what was stored is kept"
    try:
        with worker_pool(workers, context, _start, (workers, reports), mend) as pool:
            jobs = [pool.submit(_work, w, data, seed, {"shard_size": size} | arguments) for w in range(workers)]
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            return sum(job.result() for job in done)
    finally:
        reports.put(None)
        listener.join()
        reports.close()


def _listen(reports: SimpleQueue[tuple[int, int] | None], progress: Progress | None) -> None:
    while (message := reports.get()) is not None:
        if progress:
            progress(*message)


def _start(workers: int, reports: SimpleQueue[tuple[int, int] | None]) -> None:
    """Sets up a worker: it takes its share of the cores."""
    global _reports
    _reports = reports
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


def _work(number: int, data: Sequence[DataPart], seed: int, arguments: dict[str, Any]) -> int:
    reports = _reports
    assert reports is not None, "started by build_with_workers"
    if arguments.get("device") is None and torch.cuda.device_count() > 1:
        arguments["device"] = f"cuda:{number % torch.cuda.device_count()}"
    return build_cache(
        examples=load_examples(data, seed), progress=lambda done, total: reports.put((done, total)), **arguments
    )
