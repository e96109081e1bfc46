"""Time and memory of ULD and its gradients: whole vocabularies sorted, the k largest kept, and TRL's loss.

    python -m gldbench.benches.uld

The two losses are not the same number: top-k ULD compares renormalised top-k probabilities.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from gldbench.benches.kernel_inputs import Problem, Size
from gldbench.benches.write_rows import row, write
from gldbench.schema import Row
from gldbench.timing import interleaved, pinned_threads
from gldfusion.kernels import topk_cross_entropy

Loss = Callable[[Problem, Tensor], Tensor]
TRL = "trl.experimental.gold.gold_trainer"


def full(problem: Problem, source: Tensor) -> Tensor:
    """Mean over positions of sum_i |p_(i) - q_(i)| over both whole vocabularies."""
    ours = linear(problem.hidden, problem.weight).softmax(-1).sort(dim=-1, descending=True).values
    return (ours - source.softmax(-1).sort(dim=-1, descending=True).values).abs().sum(-1).mean()


def topk(problem: Problem, source: Tensor) -> Tensor:
    """The same over the k largest of both, renormalised, through the fused function."""
    values = topk_cross_entropy(problem.hidden, problem.weight, problem.labels, problem.k, impl="chunked").values
    return (values.softmax(-1) - source.topk(problem.k).values.softmax(-1)).abs().sum(-1).mean()


def trl(problem: Problem, source: Tensor) -> Tensor:
    """TRL's loss on the logits of one sequence whose tokens pair one to one."""
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


def run(size: Size, threads: int, repeats: int) -> list[Row]:
    """Seconds and peak bytes of each loss; a peer that is not installed is a skipped row."""
    problem = Problem.make(size)
    source = 3 * torch.randn(size.positions, size.vocabulary, device=size.device)
    rows, tasks = [], {}
    for name, (loss, package) in LOSSES.items():
        if find_spec(package) is None:
            rows.append(row("uld", size.name, name, "seconds", None, "s", status="skipped", reason=f"no {package}"))
        else:
            import_module(TRL if package == "trl" else package)  # else its first call would pay in time and memory
            tasks[name] = _task(loss, problem, source)
    with pinned_threads(threads):
        timings = interleaved(tasks, repeats, 3600.0, torch.device(size.device))
    for name, timing in timings.items():
        version = f"{LOSSES[name][1]} {metadata.version(LOSSES[name][1])}"
        beyond = None if timing.peak_bytes is None else timing.peak_bytes - size.gradient_bytes
        rows.append(row("uld", size.name, name, "peak_beyond_gradients", beyond, "B", method=version))
        for item, seconds in enumerate(timing.samples):
            rows.append(row("uld", size.name, name, "seconds", seconds, "s", method=version, item=str(item)))
    return rows


def _task(loss: Loss, problem: Problem, source: Tensor) -> Callable[[], float]:
    def task() -> float:
        value = loss(problem, source)
        torch.autograd.grad(value, (problem.hidden, problem.weight))
        return value.item()

    return task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=256)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("reports/kernels"))
    given = parser.parse_args()
    size = Size(given.positions, given.width, given.vocabulary, device=given.device)
    rows = run(size, given.threads, given.repeats)
    for name in LOSSES:
        mine = [r for r in rows if r.subject == name]
        seconds = [r.value for r in mine if r.metric == "seconds" and r.value is not None]
        peak = next((r.value for r in mine if r.metric == "peak_beyond_gradients"), None)
        shown = f"{median(seconds):8.3f} s" if seconds else next(r.reason for r in mine)
        print(f"{name:10s} {shown} {'' if peak is None else f'{peak / 2**20:9.1f} MiB'}")
    print(write(rows, given.output, f"bench_uld.{size.device}", given.threads))


if __name__ == "__main__":
    main()
