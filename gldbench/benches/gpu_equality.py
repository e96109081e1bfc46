"""The equality part of `gpu_report`. On a GPU it runs in many processes, because most of its time is compilation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

from gldbench.benches.equality import CASES, USES, Case, differences, fused, results
from gldbench.benches.write_rows import row
from gldbench.schema import Row
from gldfusion.kernels.fused import Tiles

LIMITS = {"float32": 1e-4, "bfloat16": 4 * torch.finfo(torch.bfloat16).eps}
"""dtype -> largest accepted difference from float64, relative to the largest entry or to 1"""
PROCESSES = 16
"""processes at most; each holds a CUDA context of half a gigabyte"""


def equality(cases: Sequence[str], kernels: Mapping[str, Tiles], device: str, tuned_for: Sequence[int]) -> list[Row]:
    """Compares implementations with float64 naive: the largest difference of each case, ids apart.

    Args:
        cases: names of `CASES`.
        kernels: name -> implementation.
        device: cpu, cuda or cuda:N. A CPU computes in float32 only, in this process.
        tuned_for: values of k. On a GPU, the kernels of every tile size of Triton's tuner are compiled meanwhile for
            them, so that the measurements after this part find them compiled.

    Returns:
        One row for each implementation, case and dtype. Its status is "error" where the difference exceeds `LIMITS` or
        the comparison fails with an exception.
    """
    dtypes = ("float32",) if device == "cpu" else tuple(LIMITS)
    jobs = [(name, tiles, case, dtype, device) for name, tiles in kernels.items() for case in cases for dtype in dtypes]
    if device == "cpu":
        return [_compare(*job) for job in jobs]
    sizes = range(_tile_sizes()) if "triton" in kernels else ()
    processes = min(PROCESSES, os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for number in sizes:  # first, because they take longest
            for k in tuned_for:
                pool.submit(_compile, number, k, device)
        futures = [pool.submit(_compare, *job) for job in jobs]
        return [_row(future, *job) for future, job in zip(futures, jobs, strict=True)]


def _compare(name: str, tiles: Tiles, case: str, dtype: str, device: str) -> Row:
    each = [differences(fused(tiles, use), CASES[case], getattr(torch, dtype), torch.float64, device) for use in USES]
    places = max(found.pop("ids") for found in each)
    worst = max((value for found in each for value in found.values()), default=0.0)
    bad = worst > LIMITS[dtype] or (places > 0 and dtype == "float32")
    about: dict[str, Any] = {"reason": f"above {LIMITS[dtype]:.2g}, or {places:g} ids differ", "status": "error"}
    variant = f"{case} {dtype} {device}"
    return row("equality", variant, name, "difference", worst, "1", **(about if bad else {}))


def _row(future: Future[Row], name: str, tiles: Tiles, case: str, dtype: str, device: str) -> Row:
    if error := future.exception():
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        variant = f"{case} {dtype} {device}"
        return row("equality", variant, name, "difference", None, "1", status="error", reason=reason)
    return future.result()


def _tile_sizes() -> int:
    from gldfusion.kernels.triton_gpu import HOPPER  # an optional dependency

    return len(HOPPER)


def _compile(number: int, k: int, device: str) -> None:
    """Runs both Triton kernels once with tile sizes of the tuner, whose binaries then lie in Triton's cache on disk.

    The compiled program depends on which sizes are multiples of 16, not on the sizes.
    """
    from gldfusion.kernels.triton_gpu import HOPPER, TritonTiles  # an optional dependency

    chosen, sizes = HOPPER[number], HOPPER[number].kwargs
    tiles = TritonTiles(
        block_n=sizes["BLOCK_N"],
        block_v=sizes["BLOCK_V"],
        block_h=sizes["BLOCK_H"],
        warps=chosen.num_warps,
        stages=chosen.num_stages,
    )
    case = Case(positions=256, width=256, entries=8192, k=k, bias=False, scale=0.1)
    results(fused(tiles), case, torch.bfloat16, device)
