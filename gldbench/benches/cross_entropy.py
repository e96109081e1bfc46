"""Time and memory of cross-entropy with and without the top-k logits, forward and backward.

    python -m gldbench.benches.cross_entropy                      the size of the claim, on the CPU
    python -m gldbench.benches.cross_entropy --device cuda --width 5120 --dtype bfloat16

Beside it stand floors: the time of 6 and of 8 N H V operations at the measured rate of a square product.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from gldbench.benches.contenders import CONTENDERS, TOPK
from gldbench.benches.kernel_inputs import Size
from gldbench.benches.measure_kernels import CPU_SECONDS, PEAK, SECONDS, measure_once, measure_time, skipped_rows
from gldbench.benches.write_rows import row, write
from gldbench.schema import Row
from gldbench.timing import interleaved, pinned_threads

FLOORS = {"floor_6nhv": 3, "floor_8nhv": 4}
"""products of hidden and weight: in any pass, and where every tile is computed twice"""


def run(size: Size, names: Sequence[str], threads: int, repeats: int) -> list[Row]:
    """Rows of all `names`: skipped, memory, time, ratios to dense, and the floor."""
    rows = skipped_rows(size, names)
    absent = {r.subject for r in rows}
    able = [name for name in names if name not in absent]
    rows += measure_once(able, size, threads)
    if repeats:
        failed = {r.subject for r in rows if r.status == "error"}
        rows += measure_time([name for name in able if name not in failed], size, threads, repeats)
        for name, products in FLOORS.items():
            seconds = floor(size, products, threads, repeats)
            rows.append(row(TOPK, size.name, name, SECONDS, seconds, "s", method=f"{products} products, measured rate"))
    return rows + ratios(rows, size)


def floor(size: Size, products: int, threads: int, repeats: int) -> float:
    """Seconds of so many products of hidden and weight, at the measured rate of a square product."""
    side = 2048 if size.device == "cpu" else 8192
    dtype = getattr(torch, size.dtype)
    a, b = (torch.randn(side, side, device=size.device).to(dtype) for _ in range(2))
    with pinned_threads(threads):
        timing = interleaved({"product": lambda: a @ b}, repeats, 600.0, torch.device(size.device))["product"]
    return size.flops(products) / (2 * side**3) * timing.median


def medians(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """subject -> median of its rows of a metric."""
    found: dict[str, list[float]] = {}
    for r in rows:
        if r.metric == metric and r.value is not None:
            found.setdefault(r.subject, []).append(r.value)
    return {subject: median(values) for subject, values in found.items()}


def ratios(rows: Sequence[Row], size: Size) -> list[Row]:
    """Each subject over dense in the same task ("dense", "dense_ce"), of medians."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("positions", 4096), ("width", 1024), ("vocabulary", 100_352), ("k", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7, help="0: memory and CPU time of one pass only")
    parser.add_argument("--only", nargs="+", choices=tuple(CONTENDERS), default=tuple(CONTENDERS))
    parser.add_argument("--output", type=Path, default=Path("reports/kernels"))
    given = parser.parse_args()
    size = Size(given.positions, given.width, given.vocabulary, given.k, given.dtype, given.device)
    rows = run(size, given.only, given.threads, given.repeats)
    path = write(rows, given.output, f"bench_ce.{size.device}", given.threads)
    seconds, peaks = medians(rows, SECONDS), medians(rows, PEAK)
    print(size.name, f"{given.threads} threads")
    for name in (*given.only, *FLOORS):
        reason = next((r.reason for r in rows if r.subject == name and r.status != "ok"), "")
        shown = f"{seconds[name]:9.3f} s" if name in seconds else ""
        memory = f"{peaks[name] / 2**20:9.1f} MiB" if name in peaks else ""
        print(f"{name:18s} {shown} {memory} {reason}")
    for r in rows:
        if "/" in r.metric and r.value is not None:
            print(f"{r.subject:18s} {r.metric:32s} {r.value:.4f}")
    print(path)


if __name__ == "__main__":
    main()
