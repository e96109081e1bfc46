"""Measures time and memory of ULD and its gradients: over the whole vocabulary, over the k largest logits, and TRL's.

    python -m gldbench.benches.uld

The losses are different numbers: top-k ULD compares probabilities that are normalised over the k largest logits.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from gldbench.benches.command_line import KERNEL_ROWS, Script
from gldbench.benches.kernel_inputs import Problem, Size
from gldbench.benches.measure_kernels import PEAK, SECONDS
from gldbench.benches.write_rows import as_json, row, write
from gldbench.console import reporter
from gldbench.schema import Row
from gldbench.timing import MIN_REPEATS, interleaved, pinned_threads
from gldfusion.kernels import topk_cross_entropy

Loss = Callable[[Problem, Tensor], Tensor]
"""(problem, logits [N, V] of the source) -> loss"""
TRL = "trl.experimental.gold.gold_trainer"


def full(problem: Problem, source: Tensor) -> Tensor:
    """The mean over positions of sum_i |p_(i) - q_(i)|, with both vocabularies sorted as a whole."""
    ours = linear(problem.hidden, problem.weight).softmax(-1).sort(dim=-1, descending=True).values
    return (ours - source.softmax(-1).sort(dim=-1, descending=True).values).abs().sum(-1).mean()


def topk(problem: Problem, source: Tensor) -> Tensor:
    """The same over the k largest logits of both, with probabilities normalised over them."""
    values = topk_cross_entropy(problem.hidden, problem.weight, problem.labels, problem.k, impl="chunked").values
    return (values.softmax(-1) - source.topk(problem.k).values.softmax(-1)).abs().sum(-1).mean()


def trl(problem: Problem, source: Tensor) -> Tensor:
    """TRL's loss, on one sequence whose tokens are paired one to one."""
    settings = SimpleNamespace(
        uld_crossentropy_weight=0.0,
        uld_distillation_weight=1.0,
        uld_student_temperature=1.0,
        uld_teacher_temperature=1.0,
        uld_skip_student_eos=False,
        uld_skip_teacher_eos=False,
        use_extended_uld=False,
        uld_token_merge_strategy="observed",
    )
    loss: Any = import_module(TRL).ULDLoss(settings)
    logits, labels = linear(problem.hidden, problem.weight)[None], problem.labels[None]
    return loss(logits, source[None], labels, labels, labels, labels)


LOSSES: dict[str, tuple[Loss, str]] = {"uld": (full, "torch"), "uld_topk": (topk, "gldbench"), "trl": (trl, "trl")}
"""name -> loss, and the package that contains its code"""


def run(size: Size, threads: int, repeats: int) -> list[Row]:
    """Measures seconds and peak memory of each loss; a loss whose package is not installed becomes a skipped row."""
    problem = Problem.make(size)
    source = 3 * torch.randn(size.positions, size.vocabulary, device=size.device)
    rows, tasks = [], {}
    for name, (loss, package) in LOSSES.items():
        if find_spec(package) is None:
            rows.append(row("uld", size.name, name, SECONDS, None, "s", status="skipped", reason=f"no {package}"))
        else:
            import_module(TRL if package == "trl" else package)  # here, so that the import is not measured
            tasks[name] = _task(loss, problem, source)
    with pinned_threads(threads):
        timings = interleaved(tasks, repeats, 3600.0, torch.device(size.device))
    for name, timing in timings.items():
        version = f"{LOSSES[name][1]} {metadata.version(LOSSES[name][1])}"
        beyond = None if timing.peak_bytes is None else timing.peak_bytes - size.gradient_bytes
        rows.append(row("uld", size.name, name, PEAK, beyond, "B", method=version))
        for item, seconds in enumerate(timing.samples):
            rows.append(row("uld", size.name, name, SECONDS, seconds, "s", method=version, item=str(item)))
    return rows


def _task(loss: Loss, problem: Problem, source: Tensor) -> Callable[[], float]:
    def task() -> float:
        value = loss(problem, source)
        torch.autograd.grad(value, (problem.hidden, problem.weight))
        return value.item()

    return task


def _script() -> Script:
    script = Script("uld", __doc__)
    script.whole("--positions", 256, "Positions N, the rows of the hidden states.", quick=32)
    script.whole("--width", 256, "Width H of the hidden states.", quick=32)
    script.whole("--vocabulary", 32_000, "Entries V of both vocabularies.", quick=2000)
    script.device()
    script.threads()
    script.whole("--repeats", 7, f"Samples of seconds, at least {MIN_REPEATS}.", least=MIN_REPEATS)
    script.output(KERNEL_ROWS)
    return script


def _work(given: Namespace) -> int:
    size = Size(given.positions, given.width, given.vocabulary, device=given.device)
    step = f"seconds and memory of {len(LOSSES)} losses, {given.repeats} rounds"
    with reporter("bench uld") as report:
        report(step, 0, 1)
        rows = run(size, given.threads, given.repeats)
        report(step, 1, 1)
    path = given.output and write(rows, given.output, f"bench_uld.{size.device}", given.threads, given.quick)
    if given.json:
        print(json.dumps({"size": size.name, "rows": as_json(rows), "file": path and str(path)}, indent=2))
        return 0
    print(f"{size.name}, threads: {given.threads}")
    for name in LOSSES:
        own = [r for r in rows if r.subject == name]
        seconds = [r.value for r in own if r.metric == SECONDS and r.value is not None]
        peak = next((r.value for r in own if r.metric == PEAK), None)
        shown = f"{median(seconds):8.3f} s" if seconds else next(r.reason for r in own)
        print(f"{name:10s} {shown} {'' if peak is None else f'{peak / 2**20:9.1f} MiB'}".rstrip())
    if path:
        print(path)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
