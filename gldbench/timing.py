"""Measures times and peak memory. Keeps all raw samples.

Repeats are interleaved: every task runs its repeat r before any task runs its repeat r + 1, and the order of the tasks
is random in every round. If the machine slows down meanwhile, it slows down all tasks alike, and the ratios between
tasks stay right. A quick task is called once without timing before each sample. Without that call, a task that comes
after a slow one finds cold caches: at n = 512 it took three times as long.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Generic, TypeVar

import torch
from threadpoolctl import threadpool_limits

from gldfusion.errors import InputError
from gldfusion.memory import PeakMemory

T = TypeVar("T")
MIN_SAMPLE = 1e-3
"""seconds; a quicker task is called several times in each sample"""
QUICK = 0.05
"""seconds; a quicker task is called once without timing before each sample"""
MIN_REPEATS = 7


@dataclass(frozen=True)
class Timing(Generic[T]):
    """The result and the samples of one task."""

    result: T
    first: float
    """seconds of the first call"""
    samples: tuple[float, ...]
    """seconds per call, in the order of the repeats; empty if `skipped` gives a reason"""
    calls: int
    """number of calls in each sample"""
    peak_bytes: int | None
    """bytes that the first call used at its peak, above those in use before; None if the system does not report them"""
    skipped: str = ""
    """why there are no samples; empty if there are"""

    @property
    def median(self) -> float:
        """Median sample in seconds, or the first call if there are no samples."""
        return median(self.samples) if self.samples else self.first

    @property
    def best(self) -> float:
        """Smallest sample in seconds, or the first call if there are no samples. Other load disturbs it least."""
        return min(self.samples) if self.samples else self.first


@contextmanager
def pinned_threads(threads: int = 1) -> Iterator[None]:
    """Fixes the number of threads of BLAS, OpenMP and torch. Without this, single timings were 100 times too long."""
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # for libraries that are imported later
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


def interleaved(
    tasks: Mapping[str, Callable[[], T]],
    repeats: int,
    budget: float,
    device: torch.device | None = None,
) -> dict[str, Timing[T]]:
    """Times every task `repeats` times after a first call.

    Args:
        tasks: functions by name. The first call of each measures memory; the samples follow in rounds.
        repeats: samples per task, at least 7.
        budget: seconds that the repeats of one task may take. A task that would need more is called only once.
        device: device of the tasks; a CUDA device is synchronised before and after every sample.

    Raises:
        InputError: there are fewer than 7 repeats.
    """
    if repeats < MIN_REPEATS:
        raise InputError(f"expected at least {MIN_REPEATS} repeats, got {repeats}")
    device = device or torch.device("cpu")
    gc.collect()
    gc.freeze()  # the collection before each first call need not visit the 10^6 objects of imported modules
    try:
        return _rounds(tasks, repeats, budget, device)
    finally:
        gc.unfreeze()


def _rounds(
    tasks: Mapping[str, Callable[[], T]], repeats: int, budget: float, device: torch.device
) -> dict[str, Timing[T]]:
    warm = {name: _warm_up(task, device) for name, task in tasks.items()}
    kept = [name for name, (_, first, _) in warm.items() if first * repeats <= budget]
    calls = dict.fromkeys(tasks, 1)
    for name in kept:  # a second call, because the first one includes imports and cold caches
        calls[name] = max(1, round(MIN_SAMPLE / max(_sample(tasks[name], 1, device), 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in tasks}
    order = random.Random(0)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name in order.sample(kept, len(kept)):
                if warm[name][1] < QUICK:
                    tasks[name]()
                samples[name].append(_sample(tasks[name], calls[name], device))
    finally:
        if collecting:
            gc.enable()
    skipped = {name: "" if name in kept else _over(first, repeats, budget) for name, (_, first, _) in warm.items()}
    return {
        name: Timing(
            result=result,
            first=first,
            samples=tuple(samples[name]),
            calls=calls[name],
            peak_bytes=peak,
            skipped=skipped[name],
        )
        for name, (result, first, peak) in warm.items()
    }


def _over(first: float, repeats: int, budget: float) -> str:
    return f"past the budget: one run took {first:.2g} s, {repeats} would pass {budget:g} s"


def _warm_up(task: Callable[[], T], device: torch.device) -> tuple[T, float, int | None]:
    _return_free_memory()
    before, memory = _resident(device), PeakMemory(device)
    begun = time.perf_counter()
    result = task()
    _synchronise(device)
    seconds = time.perf_counter() - begun
    peak = memory.read()
    return result, seconds, None if peak is None or before is None else max(0, peak - before)


def _return_free_memory() -> None:
    """Returns freed memory to the system (glibc only). Otherwise a task that reuses it would seem to need none."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _sample(task: Callable[[], T], calls: int, device: torch.device) -> float:
    _synchronise(device)
    begun = time.perf_counter()
    for _ in range(calls):
        task()
    _synchronise(device)
    return (time.perf_counter() - begun) / calls


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _resident(device: torch.device) -> int | None:
    """Bytes in use now."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.is_file() else None
