"""Measures everything that the reports say about a GPU, and writes rows and a report. It needs no network.

    make gpu-report                                       on a machine with one NVIDIA GPU, at most 9 minutes
    python -m gldbench.benches.gpu_report --dry-run       tiny sizes on the CPU, to see that the command works

The parts run one after the other: equality with the naive reference, the fused loss beside dense torch and the kernels
of other projects, whole training steps, and Gromov-Wasserstein bounds. A part that fails or for which no time is left
becomes a row that says so. Nothing is measured with a kernel that fails its equality test.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from gldbench.benches import cross_entropy, steps
from gldbench.benches.command_line import Script, require_device
from gldbench.benches.contenders import CONTENDERS
from gldbench.benches.equality import CASES, QUICK
from gldbench.benches.gpu_equality import equality
from gldbench.benches.kernel_inputs import Problem, Size
from gldbench.benches.measure_kernels import PEAK, SECONDS, discard, skipped_rows
from gldbench.benches.steps import StepSize
from gldbench.benches.write_gpu_report import as_markdown
from gldbench.benches.write_rows import as_json, row, write
from gldbench.console import reporter
from gldbench.schema import Row, Status
from gldbench.timing import interleaved, pinned_threads
from gldfusion import gw
from gldfusion.files import atomic_write
from gldfusion.graph import coactivation_graph, node_features
from gldfusion.kernels.chunked import Chunked
from gldfusion.kernels.fused import Tiles

FOLDER = Path("reports/gpu")
REPEATS = 7


@dataclass(frozen=True)
class Plan:
    """The sizes of all parts."""

    device: str
    losses: tuple[Size, ...]
    steps: tuple[StepSize, ...]
    nodes: tuple[int, ...]
    cases: tuple[str, ...]
    seconds: float
    """after so many seconds no other part begins"""

    @classmethod
    def full(cls, device: str) -> Plan:
        """Shapes of real models: Qwen2.5 (V 152064) and Llama 3 (V 128256)."""
        return cls(
            device=device,
            losses=tuple(
                Size(positions=n, width=h, vocabulary=v, k=16, dtype="bfloat16", device=device)
                for n, h, v in ((4096, 5120, 152_064), (8192, 4096, 128_256))
            ),
            steps=tuple(
                StepSize(8, 1024, 2048, 8, vocabulary, 10, device, precision)
                for vocabulary, precision in ((32_000, "bf16"), (151_936, "bf16"))
            ),
            nodes=(64, 256, 1024),
            cases=tuple(CASES),
            seconds=400.0,
        )

    @classmethod
    def tiny(cls, device: str) -> Plan:
        """Sizes that end within seconds. Their figures mean nothing."""
        return cls(
            device=device,
            losses=(Size(positions=32, width=16, vocabulary=600, k=4, device=device),),
            steps=(StepSize(2, 8, 64, 1, 500, 4, device),),
            nodes=(16,),
            cases=QUICK,
            seconds=420.0,
        )


def kernels_on(device: str) -> dict[str, Tiles]:
    """The implementations that can run on a device: "chunked", and "triton" on a GPU."""
    found: dict[str, Tiles] = {"chunked": Chunked.on(torch.device(device))}
    if device != "cpu" and find_spec("triton"):
        from gldfusion.kernels.triton_gpu import TritonTiles  # an optional dependency

        found["triton"] = TritonTiles()  # not tuned: every case would be tuned anew
    return found


def losses(size: Size, broken: Set[str]) -> list[Row]:
    """Seconds and peak memory beyond the gradients of every contender that can run, and the ratios to dense torch.

    Each is called once before, so that neither compilation nor a failure disturbs the others. Contenders that use a
    `broken` kernel are skipped.
    """
    rows, tasks, problem = skipped_rows(size, tuple(CONTENDERS)), dict[str, Callable[[], None]](), Problem.make(size)
    for name in [name for name in CONTENDERS if name.removesuffix("_ce") in broken]:
        about = (CONTENDERS[name].task, size.name, name, SECONDS, None, "s")
        rows.append(row(*about, status="skipped", reason="not measured: it failed the equality test"))
    for name in [name for name in CONTENDERS if name not in {r.subject for r in rows}]:
        contender = CONTENDERS[name]
        try:
            contender.work(problem)
        except Exception as error:  # a contender is another project's code, and can raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            rows.append(row(contender.task, size.name, name, SECONDS, None, "s", status="error", reason=reason))
        else:
            tasks[name] = discard(contender, problem)
    with pinned_threads(1):
        timings = interleaved(tasks, REPEATS, 60.0, torch.device(size.device))
    for name, timing in timings.items():
        task, version = CONTENDERS[name].task, CONTENDERS[name].version
        peak = None if timing.peak_bytes is None else timing.peak_bytes - size.gradient_bytes
        rows.append(row(task, size.name, name, PEAK, peak, "B", method=version))
        for i, seconds in enumerate(timing.samples):
            rows.append(row(task, size.name, name, SECONDS, seconds, "s", method=version, item=str(i)))
    rows += cross_entropy.floors(size, 1, REPEATS)
    return rows + cross_entropy.ratios(rows, size)


def bounds(plan: Plan, n: int) -> list[Row]:
    """Seconds and peak memory of the sorted distances and of slb, with gradients, on 32 graphs of n rank nodes."""
    random = torch.Generator(plan.device).manual_seed(0)
    z, y = (torch.randn(32, n, n, device=plan.device, generator=random).sort(-1, descending=True).values for _ in "zy")
    z.requires_grad_()

    def of_features(bound: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[], None]:
        def task() -> None:
            torch.autograd.grad(bound(node_features(z, aggregate="mean"), node_features(y, aggregate="mean")).sum(), z)

        return task

    def slb() -> None:
        torch.autograd.grad(gw.slb(coactivation_graph(z, "mean"), coactivation_graph(y, "mean")).sum(), z)

    tasks = {"ggw": of_features(gw.ggw_sum), "flb": of_features(gw.flb), "anova": of_features(gw.anova), "slb": slb}
    with pinned_threads(1):
        timings = interleaved(tasks, REPEATS, 60.0, torch.device(plan.device))
    variant = f"32 graphs T=n={n} float32 {plan.device}"
    rows = [row("gw", variant, name, PEAK, t.peak_bytes, "B") for name, t in timings.items()]
    for name, timing in timings.items():
        rows += [row("gw", variant, name, SECONDS, s, "s", item=str(i)) for i, s in enumerate(timing.samples)]
    return rows


def parts(plan: Plan, broken: Set[str]) -> Iterator[tuple[str, Callable[[], Sequence[Row]]]]:
    """The parts after equality: name and work. Kernels that failed their equality test, `broken`, are left out."""
    for size in plan.losses:
        yield f"losses {size.name}", lambda size=size: losses(size, broken)
    for n in plan.nodes:
        yield f"gw n={n}", lambda n=n: bounds(plan, n)
    for size in plan.steps:
        for kernel in kernels_on(plan.device).keys() - broken:
            chosen = tuple(steps.TERMS) if kernel == "chunked" else tuple(n for n in steps.TERMS if n != "naive")
            yield (
                f"steps {kernel} {size.name}",
                lambda size=size, c=chosen, kernel=kernel: steps.run(
                    size, c, "chunked" if kernel == "chunked" else "triton", 1, REPEATS
                ),
            )


def measure(plan: Plan, report: Callable[[str, int, int], None], keep: Callable[[Sequence[Row]], object]) -> list[Row]:
    """Runs all parts of a plan.

    Args:
        plan: the sizes.
        report: called with each part, before and after it.
        keep: called with all rows so far after each part. So a run that is cut off leaves what it has measured.
    """
    begun = time.monotonic()
    tuned_for = sorted({size.k for size in (*plan.losses, *plan.steps)})
    kernels = kernels_on(plan.device)
    rows = [*_rows_of("equality", lambda: equality(plan.cases, kernels, plan.device, tuned_for), report)]
    broken = {name for name in kernels if any(r.status == "error" and r.subject in (name, "all") for r in rows)}
    keep(rows)
    for part, work in parts(plan, broken):
        if time.monotonic() - begun > plan.seconds:
            rows.append(_failed(part, "skipped", "not measured: no time was left"))
        else:
            rows += _rows_of(part, work, report)
        keep(rows)
    return rows


def _rows_of(part: str, work: Callable[[], Sequence[Row]], report: Callable[[str, int, int], None]) -> Sequence[Row]:
    report(part, 0, 1)
    try:
        return work()
    except Exception as error:  # the other parts are still worth their time on a lent machine
        return [_failed(part, "error", " ".join(f"{type(error).__name__}: {error}".split())[:300])]
    finally:
        report(part, 1, 1)


def _failed(part: str, status: Status, reason: str) -> Row:
    task, _, variant = part.partition(" ")
    return row(task, variant, "all", SECONDS, None, "s", status=status, reason=reason)


def _script() -> Script:
    script = Script("gpu_report", __doc__)
    script.option("--device", "cuda", "Device: cuda, cuda:N or cpu.")
    script.add_argument("--dry-run", action="store_true", help="Use tiny sizes on the CPU. Default: off.")
    script.output(FOLDER)
    return script


def _work(given: Namespace) -> int:
    device = "cpu" if given.dry_run else given.device
    require_device(device)
    plan = Plan.tiny(device) if given.dry_run or given.quick else Plan.full(device)
    small = given.dry_run or given.quick
    name = torch.cuda.get_device_name(device) if device != "cpu" else None

    def keep(rows: Sequence[Row]) -> Path | None:
        path = given.output and write(rows, given.output, "gpu_report", 1, small)
        if path:
            with atomic_write(path.with_suffix(".md"), "w") as file:
                file.write(as_markdown(rows, name, small))
        return path

    with reporter("bench gpu_report") as report:
        rows = measure(plan, report, keep)
    text, path = as_markdown(rows, name, small), keep(rows)
    print(json.dumps({"rows": as_json(rows), "file": path and str(path)}, indent=2) if given.json else text)
    return 1 if any(r.status == "error" for r in rows) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code: 1 if a kernel or a part failed."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
