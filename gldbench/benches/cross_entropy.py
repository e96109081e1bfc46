"""Measures time and memory of cross-entropy, forward and backward, with and without the k largest logits.

    python -m gldbench.benches.cross_entropy                      the size of the reports, on the CPU
    python -m gldbench.benches.cross_entropy --device cuda --width 5120 --dtype bfloat16

The contenders are our implementations, plain torch, and kernels of other projects. For comparison the script prints
floors: the time of 6 N H V and of 8 N H V operations at the measured speed of a product of square matrices.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from statistics import median

import torch

from gldbench.benches.command_line import KERNEL_ROWS, Script, require_names
from gldbench.benches.contenders import CONTENDERS, TOPK
from gldbench.benches.kernel_inputs import Size
from gldbench.benches.measure_kernels import CPU_SECONDS, PEAK, SECONDS, measure_once, measure_time, skipped_rows
from gldbench.benches.write_rows import as_json, row, write
from gldbench.console import reporter
from gldbench.jobs import Report
from gldbench.schema import Row
from gldbench.timing import MIN_REPEATS, interleaved, pinned_threads
from gldfusion.errors import InputError

FLOORS = {"floor_6nhv": 3, "floor_8nhv": 4}
"""name -> products of hidden states and weight: any implementation needs 3, and 4 if it computes every tile twice"""


def run(size: Size, names: Sequence[str], threads: int, repeats: int, report: Report) -> list[Row]:
    """Measures the contenders `names`; returns skipped rows, memory, CPU time, seconds, floors and ratios.

    Args:
        size: the problem.
        names: keys of CONTENDERS.
        threads: threads of torch.
        repeats: samples of seconds per contender. 0: no seconds and no floors.
        report: called with each step, before and after it.
    """
    rows = skipped_rows(size, names)
    absent = {r.subject for r in rows}
    able = [name for name in names if name not in absent]
    timed = [f"seconds of all contenders, {repeats} rounds", "floors"] if repeats else []
    for step in [*(f"memory of {name}" for name in able), *timed]:
        report(step, 0, 1)
    for name in able:
        rows += measure_once(name, size, threads)
        report(f"memory of {name}", 1, 1)
    if repeats:
        failed = {r.subject for r in rows if r.status == "error"}
        rows += measure_time([name for name in able if name not in failed], size, threads, repeats)
        report(timed[0], 1, 1)
        rows += floors(size, threads, repeats)
        report(timed[1], 1, 1)
    return rows + ratios(rows, size)


def floors(size: Size, threads: int, repeats: int) -> list[Row]:
    """The seconds that 6 N H V and 8 N H V operations take at the measured speed of a product of square matrices."""
    side = 2048 if size.device == "cpu" else 8192
    if size.flops(1) < 2 * side**3:  # a small problem; its floors need not take longer than the rest
        side = 512
    dtype = getattr(torch, size.dtype)
    a, b = (torch.randn(side, side, device=size.device).to(dtype) for _ in range(2))
    with pinned_threads(threads):
        timing = interleaved({"product": lambda: a @ b}, repeats, 600.0, torch.device(size.device))["product"]
    speed = 2 * side**3 / timing.median
    return [
        row(
            TOPK,
            size.name,
            name,
            SECONDS,
            size.flops(products) / speed,
            "s",
            method=f"{products} products, measured rate",
        )
        for name, products in FLOORS.items()
    ]


def medians(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """subject -> median of its rows of a metric."""
    found: dict[str, list[float]] = {}
    for r in rows:
        if r.metric == metric and r.value is not None:
            found.setdefault(r.subject, []).append(r.value)
    return {subject: median(values) for subject, values in found.items()}


def ratios(rows: Sequence[Row], size: Size) -> list[Row]:
    """Divides the median of each subject by that of dense torch for the same task ("dense" or "dense_ce")."""
    out = []
    for metric in (SECONDS, CPU_SECONDS, PEAK):
        values = medians(rows, metric)
        for name, contender in CONTENDERS.items():
            base = "dense" if contender.task == TOPK else "dense_ce"
            if name in values and base in values and name != base:
                ratio = values[name] / values[base]
                out.append(
                    row(contender.task, size.name, name, f"{metric}/{base}", ratio, "1", method=contender.version)
                )
    return out


def _script() -> Script:
    script = Script("cross_entropy", __doc__)
    script.whole("--positions", 4096, "Positions N, the rows of the hidden states.", quick=128)
    script.whole("--width", 1024, "Width H of the hidden states.", quick=64)
    script.whole("--vocabulary", 100_352, "Entries V of the vocabulary.", quick=4096)
    script.whole("--k", 16, "Number of largest logits to keep per position.")
    dtypes = ("float32", "bfloat16", "float16")
    script.option("--dtype", "float32", "Precision of hidden states and weight.", choices=dtypes)
    script.device()
    script.threads()
    script.whole("--repeats", 7, f"Samples of seconds, at least {MIN_REPEATS}. 0: only memory and CPU time.", least=0)
    contenders, few = tuple(CONTENDERS), ("dense", "chunked")
    script.option("--only", contenders, "Contenders to measure.", quick=few, nargs="+", metavar="NAME")
    script.output(KERNEL_ROWS)
    return script


def _work(given: Namespace) -> int:
    names = require_names("contender", given.only, tuple(CONTENDERS))
    if 0 < given.repeats < MIN_REPEATS:
        raise InputError(f"--repeats: expected 0 or at least {MIN_REPEATS}, got {given.repeats}")
    size = Size(
        positions=given.positions,
        width=given.width,
        vocabulary=given.vocabulary,
        k=given.k,
        dtype=given.dtype,
        device=given.device,
    )
    with reporter("bench cross_entropy") as report:
        rows = run(size, names, given.threads, given.repeats, report)
    path = given.output and write(rows, given.output, f"bench_ce.{size.device}", given.threads, given.quick)
    if given.json:
        print(json.dumps({"size": size.name, "rows": as_json(rows), "file": path and str(path)}, indent=2))
        return 0
    print(f"{size.name}, threads: {given.threads}")
    _print(rows, names)
    if path:
        print(path)
    return 0


def _print(rows: Sequence[Row], names: Sequence[str]) -> None:
    """Seconds, memory and the reason for a missing value of each subject, then the ratios."""
    seconds, peaks = medians(rows, SECONDS), medians(rows, PEAK)
    for name in (*names, *FLOORS):
        reason = next((r.reason for r in rows if r.subject == name and r.status != "ok"), "")
        shown = f"{seconds[name]:9.3f} s" if name in seconds else ""
        memory = f"{peaks[name] / 2**20:9.1f} MiB" if name in peaks else ""
        print(f"{name:18s} {shown} {memory} {reason}".rstrip())
    for r in rows:
        if "/" in r.metric and r.value is not None:
            print(f"{r.subject:18s} {r.metric:32s} {r.value:.4f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
