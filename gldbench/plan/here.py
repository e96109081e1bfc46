"""Measures how fast this machine trains: a few steps of the fusion itself if it is small, else of a standard model."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from gldbench.benches.steps import StepSize, make_batch, make_model, make_optimizer, make_step
from gldbench.plan.passes import Pass, Shape, measure
from gldfusion.errors import InputError
from gldfusion.recipe import Recipe
from gldfusion.recipe_paths import check_paths

MOST_PARAMETERS, MOST_FLOPS, MOST_TEXTS = 4e7, 1e11, 4096
"""a fusion is tried if its pivot, one step of it and its data are at most so large"""
STANDARD = StepSize(sequences=4, length=256, width=256, layers=4, vocabulary=8000)
STEPS = 6
"""steps that are measured; the first one does not count"""


def try_fusion(recipe: Recipe, pivot: Pass, texts: int, step_flops: float) -> tuple[float, str] | None:
    """FLOP/s that the fusion reaches on this machine, and a sentence about it.

    Trains a few steps in a temporary folder, which is deleted. Fixed costs decide the speed of a small fusion, so only
    the fusion itself shows it.

    Args:
        recipe: the recipe.
        pivot: the pass of one micro-batch.
        texts: number of training texts.
        step_flops: FLOPs of one optimizer step, those of live sources included.

    Returns:
        None if the fusion is too large for a trial, or a file that it reads does not exist yet.
    """
    if pivot.parameters > MOST_PARAMETERS or step_flops > MOST_FLOPS or texts > MOST_TEXTS:
        return None
    try:
        check_paths(recipe)
    except InputError:
        return None  # a plan is made before caches or data are there
    from gldfusion.fuse import fuse

    quiet = {"steps": STEPS, "epochs": None, "save_every": 10**9, "probe_every": 0, "evaluate_every": 0}
    if recipe.train.on_policy is not None:
        quiet["save_every"] = recipe.train.on_policy.every * 10**6
    short = recipe.model_copy(update={"train": recipe.train.model_copy(update=quiet), "validation": None})
    with tempfile.TemporaryDirectory(prefix="gldbench-plan-") as folder:
        log = fuse(short, Path(folder) / "fused") / "training_log.jsonl"
        ends = [json.loads(line)["seconds"] for line in log.read_text().splitlines()]
    seconds = median(after - before for before, after in pairwise(ends))
    rate = step_flops / seconds
    return rate, f"{seconds:.3g} s for a step, measured now in {STEPS} steps of this fusion on this machine"


def standard_rate(recipe: Recipe) -> tuple[float, str]:
    """FLOP/s that whole training steps of a standard model reach on this machine, and a sentence about it.

    Args:
        recipe: gives the precision and the kernel.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = replace(STANDARD, device=device, precision=recipe.train.precision)
    model, batch = make_model(size), make_batch(size)
    one = measure(model.config, Shape(size.sequences, size.length, autocast=size.precision == "bf16"))
    step = make_step(size, model, batch, {}, recipe.train.kernel, make_optimizer(model))
    ends = [time.perf_counter()]
    for _ in range(STEPS):
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())
    seconds = median(after - before for before, after in pairwise(ends[1:]))
    rate = 3 * (one.flops + one.output_flops) / seconds
    about = f"measured now in steps of a random Llama on this machine ({size.name})"
    return rate, f"{rate / 1e9:.3g} GFLOP/s, {about}"


def libraries() -> float:
    """Resident bytes of this process, with the libraries that a training loads. 0 if the system does not report it."""
    import gldfusion.fuse  # noqa: F401  the libraries are what is measured

    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0  # not Linux; `fuse` does not report its memory there either
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
