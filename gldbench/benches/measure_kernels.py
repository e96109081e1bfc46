"""Seconds in interleaved rounds, and peak memory of each contender in a process of its own."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context

import torch

from gldbench.benches.contenders import CONTENDERS, Contender
from gldbench.benches.kernel_inputs import Problem, Size
from gldbench.benches.write_rows import row
from gldbench.schema import Row, Status
from gldbench.timing import interleaved, pinned_threads
from gldfusion.memory import PeakMemory

SECONDS, CPU_SECONDS, PEAK = "seconds", "cpu_seconds", "peak_beyond_gradients"
BUDGET = 3600.0
"""seconds that the repeats of one contender may take"""


def one_pass(name: str, size: Size, threads: int) -> tuple[int | None, float]:
    """Peak bytes of one pass beyond its inputs and their gradients (None where the system does not tell), and its CPU
    seconds over all threads, which other work on the machine disturbs less than seconds.

    A small problem goes first, so that libraries and thread pools are not counted.
    """
    torch.set_num_threads(threads)
    contender = CONTENDERS[name]
    contender.work(Problem.make(replace(size, positions=64, vocabulary=512)))
    problem, device = Problem.make(size), torch.device(size.device)
    gc.collect()
    memory = PeakMemory(device)
    before, begun = memory.read(), time.process_time()  # the peak, just reset, is what is held now
    gradients = contender.work(problem)
    peak, seconds = memory.read(), time.process_time() - begun
    assert len(gradients) == 2
    return None if peak is None or before is None else peak - before - size.gradient_bytes, seconds


def measure_once(names: Sequence[str], size: Size, threads: int) -> list[Row]:
    """Memory and CPU time of each name, in a process of its own; one that fails is a row with its error."""
    rows = []
    for name in names:
        contender = CONTENDERS[name]
        about = (contender.task, size.name, name)
        try:
            with get_context("spawn").Pool(1) as pool:
                peak, seconds = pool.apply(one_pass, (name, size, threads))
        except Exception as error:  # of other projects' code: whatever it may be
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            rows.append(row(*about, PEAK, None, "B", method=contender.version, status="error", reason=reason))
            continue
        known: Status = "ok" if peak is not None else "skipped"
        reason = "" if peak is not None else "the system does not tell"
        rows.append(row(*about, PEAK, peak, "B", method=contender.version, status=known, reason=reason))
        rows.append(row(*about, CPU_SECONDS, seconds, "s", method=contender.version))
    return rows


def measure_time(names: Sequence[str], size: Size, threads: int, repeats: int) -> list[Row]:
    """A row for each repeat of each name, all in the same rounds."""
    problem = Problem.make(size)
    rows = []
    with pinned_threads(threads):
        tasks = {name: _discard(CONTENDERS[name], problem) for name in names}
        for name, timing in interleaved(tasks, repeats, BUDGET, torch.device(size.device)).items():
            contender = CONTENDERS[name]
            for item, seconds in enumerate(timing.samples):
                about = (contender.task, size.name, name, SECONDS, seconds, "s")
                rows.append(row(*about, method=contender.version, item=str(item)))
    return rows


def _discard(contender: Contender, problem: Problem):
    """Its work, whose gradients are dropped: two kept ones would be a gigabyte."""

    def task() -> None:
        contender.work(problem)

    return task


def skipped_rows(size: Size, names: Sequence[str]) -> list[Row]:
    """Rows for each name that cannot run on this device, with the reason."""
    rows = []
    for name in names:
        contender = CONTENDERS[name]
        if reason := contender.missing(size.device):
            for metric, unit in ((SECONDS, "s"), (PEAK, "B")):
                about = (contender.task, size.name, name, metric, None, unit)
                rows.append(row(*about, method=contender.version, status="skipped", reason=reason))
    return rows
