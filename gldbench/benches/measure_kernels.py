"""Measures each contender: seconds in interleaved rounds, and memory and CPU time in a process of its own."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
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
"""metrics of the rows"""
BUDGET = 3600.0
"""seconds that all repeats of one contender may take"""
WARM_UP = {"positions": 64, "vocabulary": 512}
"""size of the problem that a process solves before it is measured"""


def one_pass(name: str, size: Size, threads: int) -> tuple[int | None, float]:
    """Measures one forward and backward pass of a contender; call it in a process of its own.

    It solves a small problem first, so that the loading of libraries and the start of threads do not count.

    Returns:
        Peak memory in bytes beyond the inputs and their gradients, or None if the system does not report it; and CPU
        seconds over all threads, which other work on the machine changes less than seconds.
    """
    torch.set_num_threads(threads)
    contender = CONTENDERS[name]
    contender.work(Problem.make(replace(size, **WARM_UP, k=min(size.k, WARM_UP["vocabulary"]))))
    problem, device = Problem.make(size), torch.device(size.device)
    gc.collect()
    memory = PeakMemory(device)
    before, begun = memory.read(), time.process_time()  # the peak was just reset: it is the memory in use now
    gradients = contender.work(problem)
    peak, seconds = memory.read(), time.process_time() - begun
    assert len(gradients) == 2
    return None if peak is None or before is None else peak - before - size.gradient_bytes, seconds


def measure_once(name: str, size: Size, threads: int) -> list[Row]:
    """Memory and CPU time of one contender, measured in a process of its own. If it fails, the row holds the error."""
    contender = CONTENDERS[name]
    about = (contender.task, size.name, name)
    try:
        with get_context("spawn").Pool(1) as pool:
            peak, seconds = pool.apply(one_pass, (name, size, threads))
    except Exception as error:  # a contender is another project's code, and can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return [row(*about, PEAK, None, "B", method=contender.version, status="error", reason=reason)]
    known: Status = "ok" if peak is not None else "skipped"
    reason = "" if peak is not None else "the system does not tell"
    return [
        row(*about, PEAK, peak, "B", method=contender.version, status=known, reason=reason),
        row(*about, CPU_SECONDS, seconds, "s", method=contender.version),
    ]


def measure_time(names: Sequence[str], size: Size, threads: int, repeats: int) -> list[Row]:
    """Seconds of each repeat of each contender. Each round runs all contenders."""
    problem = Problem.make(size)
    rows = []
    with pinned_threads(threads):
        tasks = {name: discard(CONTENDERS[name], problem) for name in names}
        for name, timing in interleaved(tasks, repeats, BUDGET, torch.device(size.device)).items():
            contender = CONTENDERS[name]
            for item, seconds in enumerate(timing.samples):
                about = (contender.task, size.name, name, SECONDS, seconds, "s")
                rows.append(row(*about, method=contender.version, item=str(item)))
    return rows


def discard(contender: Contender, problem: Problem) -> Callable[[], None]:
    """The work of a contender without its result; the gradients of two contenders would take a gigabyte."""

    def task() -> None:
        contender.work(problem)

    return task


def skipped_rows(size: Size, names: Sequence[str]) -> list[Row]:
    """Rows for the contenders that cannot run on the device, with the reason."""
    rows = []
    for name in names:
        contender = CONTENDERS[name]
        if reason := contender.missing(size.device):
            for metric, unit in ((SECONDS, "s"), (PEAK, "B")):
                about = (contender.task, size.name, name, metric, None, unit)
                rows.append(row(*about, method=contender.version, status="skipped", reason=reason))
    return rows
