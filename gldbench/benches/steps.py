"""Measures whole training steps: forward pass, terms of the loss, gradients, clipping and the optimizer.

    python -m gldbench.benches.steps

All contenders run in one process, in interleaved rounds, on the same batch and the same random model, so the ratios to
"sft" hold on a machine that does other work too. Under heavy load, read the ratios of the CPU time. The logits of the
source are random and lie in memory. So the ratios say what a term of the loss adds to a step, and nothing about the
reading of a cache.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from gldbench.benches.command_line import KERNEL_ROWS, Script, require_names
from gldbench.benches.measure_kernels import CPU_SECONDS, PEAK, SECONDS
from gldbench.benches.write_rows import as_json, row, write
from gldbench.console import reporter
from gldbench.schema import Row
from gldbench.timing import MIN_REPEATS, interleaved, pinned_threads
from gldfusion.data import Batch
from gldfusion.errors import InputError
from gldfusion.inputs import Inputs
from gldfusion.kernels.dispatch import Implementation
from gldfusion.model import SignalModel
from gldfusion.objective import TotalLoss
from gldfusion.projection import COLUMN
from gldfusion.recipe import DataPart, Recipe, SourceSpec, TermSpec, TrainSpec
from gldfusion.signals import END, Signal

Options = Mapping[str, Any]
TERMS: dict[str, Mapping[str, Options]] = {
    "sft": {},
    "sft+uld": {"uld": {}},
    "sft+uld_topk+gld": {"uld_topk": {}, "gld": {}},
    "sft+minced": {"minced": {}},
    "sft+kl": {"kl": {}},
    "sft+gld_local": {"gld_local": {}},
    "sft+gld_local all": {"gld_local": {"window": "all"}},
    "sft+gld_local features": {"gld_local": {"form": "features"}},
    "sft+shared_kd": {"shared_kd": {}},
    "sft+alm": {"alm": {}},
    "sft+gold": {"gold": {}},
    "sft+xtoken": {"xtoken": {}},
    "sft+xtoken hkl": {"xtoken": {"form": "hkl"}},
    "naive": {},
}
"""contender -> the losses of its terms beside sft, with their options; "naive" computes sft with all logits at once"""
SOURCE = "source"


@dataclass(frozen=True)
class StepSize:
    """The size of a step; `name` is the `variant` of every row."""

    sequences: int = 8
    length: int = 512
    width: int = 256
    layers: int = 6
    vocabulary: int = 32_000
    k: int = 10
    device: str = "cpu"
    precision: str = "no"

    @property
    def name(self) -> str:
        """All sizes, the precision and the device."""
        shape = f"{self.sequences}x{self.length} H={self.width} L={self.layers} V={self.vocabulary} k={self.k}"
        return f"{shape} {self.precision} {self.device}"


def make_model(size: StepSize) -> LlamaForCausalLM:
    """A Llama model with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=size.width,
        intermediate_size=8 * size.width // 3,
        num_hidden_layers=size.layers,
        num_attention_heads=max(1, size.width // 64),
        num_key_value_heads=max(1, size.width // 64),
        vocab_size=size.vocabulary,
        max_position_embeddings=size.length,
        tie_word_embeddings=False,
    )
    with torch.device(size.device):
        return LlamaForCausalLM(config)


def make_batch(size: StepSize) -> Batch:
    """A batch of random tokens, all of them labelled, each paired with a position of a random source."""
    random = torch.Generator().manual_seed(1)
    shape = (size.sequences, size.length)
    ids = torch.randint(size.vocabulary, shape, generator=random)
    places = torch.arange(size.length).expand(shape)
    full = torch.ones(shape, dtype=torch.bool)
    inputs = Inputs(
        input_ids=ids, attention_mask=full.long(), positions=places.contiguous(), labels=ids.roll(-1, 1), mask=full
    )
    values = 3 * torch.randn(*shape, size.k, generator=random).sort(-1, descending=True).values
    stride = size.vocabulary // size.k  # ids that differ within a position
    kept = torch.randint(stride, (*shape, size.k), generator=random) + stride * torch.arange(size.k)
    lse = values.logsumexp(-1) + 0.2
    held = {"lse": lse, "mean": lse - 10, "std": torch.ones(shape), "nll": -torch.rand(shape, generator=random).log()}
    signal = Signal(values=values, mask=full, ids=kept, **held)
    pairs = torch.stack([places, places], -1)
    ends = torch.full((size.sequences, 1, 2), END)
    return Batch(inputs, {SOURCE: (signal, torch.cat([pairs, ends], 1))}).to(torch.device(size.device))


def make_loss(size: StepSize, terms: Mapping[str, Options]) -> TotalLoss:
    """The total loss of a recipe with these terms. Its vocabulary maps and projections are random."""
    recipe = Recipe(
        name="bench",
        pivot=Path("unused"),
        data=(DataPart(path=Path("unused")),),
        sources=(SourceSpec(name=SOURCE, checkpoint=Path("unused")),) if terms else (),
        terms=tuple(TermSpec(loss=name, weight=0.5, options=dict(options)) for name, options in terms.items()),
        lambda_=0.5,
        k=size.k,
        train=TrainSpec(steps=1, batch_size=size.sequences, learning_rate=1e-4),
    )
    loss = TotalLoss(recipe)
    loss.tokens = {SOURCE: size.vocabulary}  # the source has the pivot's vocabulary
    random = torch.Generator().manual_seed(2)
    for term in loss.terms:
        if "mapped" in term.loss.needs:
            loss.maps[term.name] = torch.randint(size.vocabulary, (size.vocabulary,), generator=random).to(size.device)
        if "projected" in term.loss.needs:
            ids = torch.randint(size.vocabulary, (size.vocabulary, COLUMN), generator=random)
            loss.projections[term.name] = ids.to(size.device), torch.full(ids.shape, 1 / COLUMN, device=size.device)
    return loss


def make_step(
    size: StepSize,
    model: LlamaForCausalLM,
    batch: Batch,
    terms: Mapping[str, Options],
    kernel: Implementation,
    optimizer: torch.optim.Optimizer,
) -> Callable[[], Tensor]:
    """One optimizer step, as `gldfusion.fuse.train_step` runs it on one process; it returns the terms."""
    loss = make_loss(size, terms)
    signals = SignalModel(model, size.k, loss.needs, kernel)
    counts = loss.counts([batch])
    kind = torch.device(size.device).type

    def step() -> Tensor:
        with torch.autocast(kind, torch.bfloat16, enabled=size.precision == "bf16"):
            pivot = signals(batch.inputs)
        values = loss.values(pivot, batch.sources, counts)
        torch.stack(values).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return torch.stack(values).detach()

    return step


def make_optimizer(model: LlamaForCausalLM) -> torch.optim.Optimizer:
    """The optimizer of a model; all contenders share it, because its moments take twice the memory of the weights."""
    return torch.optim.AdamW(model.parameters(), lr=1e-5)


def run(size: StepSize, names: Sequence[str], kernel: Implementation, threads: int, repeats: int) -> list[Row]:
    """Measures the contenders `names`: seconds of each repeat, peak memory, and the ratio of medians to "sft".

    On a GPU, each is called once before, so that a contender that finds too little memory, or a kernel that cannot run
    it, becomes a row that says so.
    """
    model, batch = make_model(size), make_batch(size)
    optimizer = make_optimizer(model)
    tasks = {
        name: make_step(size, model, batch, TERMS[name], "naive" if name == "naive" else kernel, optimizer)
        for name in names
    }
    failed = {} if size.device == "cpu" else failures(tasks)
    tasks = {name: task for name, task in tasks.items() if name not in failed}
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    with pinned_threads(threads):
        clocked = {name: _clocked(task, spent[name]) for name, task in tasks.items()}
        timings = interleaved(clocked, repeats, 3600.0, torch.device(size.device))
    rows = _cpu_rows(size, spent) if size.device == "cpu" else []
    for name, reason in failed.items():
        rows.append(row("step", size.name, name, SECONDS, None, "s", method=kernel, status="skipped", reason=reason))
    for name, timing in timings.items():
        about: dict[str, Any] = {"method": "naive" if name == "naive" else kernel}
        rows.append(row("step", size.name, name, PEAK, timing.peak_bytes, "B", **about))
        rows += [
            row("step", size.name, name, SECONDS, s, "s", item=str(i), **about) for i, s in enumerate(timing.samples)
        ]
        if "sft" in timings and name != "sft":
            ratio = median(a / b for a, b in zip(timing.samples, timings["sft"].samples, strict=True))
            rows.append(row("step", size.name, name, f"{SECONDS}/sft", ratio, "1", **about))
    return rows


def failures(tasks: Mapping[str, Callable[[], Tensor]]) -> dict[str, str]:
    """Calls every task once; returns those that cannot run on this device, with the reason."""
    found: dict[str, str] = {}
    for name, task in tasks.items():
        try:
            task()
        except (InputError, torch.OutOfMemoryError) as error:
            found[name] = " ".join(str(error).split())[:200]
    torch.cuda.empty_cache()
    return found


def _clocked(task: Callable[[], Tensor], spent: list[float]) -> Callable[[], Tensor]:
    """The task; it adds the CPU seconds of every call to `spent`."""

    def run() -> Tensor:
        begun = time.process_time()
        out = task()
        spent.append(time.process_time() - begun)
        return out

    return run


def _cpu_rows(size: StepSize, spent: Mapping[str, Sequence[float]]) -> list[Row]:
    """Median CPU seconds of each contender without its first call, and their ratio to "sft"."""
    medians = {name: median(seconds[1:]) for name, seconds in spent.items()}
    rows = [row("step", size.name, name, CPU_SECONDS, seconds, "s") for name, seconds in medians.items()]
    if "sft" in medians:
        rows += [
            row("step", size.name, name, f"{CPU_SECONDS}/sft", seconds / medians["sft"], "1")
            for name, seconds in medians.items()
            if name != "sft"
        ]
    return rows


def _script() -> Script:
    script = Script("steps", __doc__)
    script.whole("--sequences", 8, "Sequences of a step.", quick=2)
    script.whole("--length", 512, "Tokens of a sequence.", quick=16)
    script.whole("--width", 256, "Width H of the model.", quick=64)
    script.whole("--layers", 6, "Layers of the model.", quick=1)
    script.whole("--vocabulary", 32_000, "Entries V of the vocabulary.", quick=2000)
    script.whole("--k", 10, "Number of largest logits to keep per position.")
    script.option("--precision", "no", "Autocast of the forward pass.", choices=("no", "bf16"))
    script.option("--kernel", "chunked", "Kernel of all contenders but naive.", choices=("auto", "chunked", "triton"))
    script.device()
    script.threads()
    script.whole("--repeats", 7, f"Samples of seconds, at least {MIN_REPEATS}.", least=MIN_REPEATS)
    script.option("--only", tuple(TERMS), "Contenders to measure.", nargs="+", metavar="NAME")
    script.output(KERNEL_ROWS)
    return script


def _work(given: Namespace) -> int:
    names = require_names("contender", given.only, tuple(TERMS))
    size = StepSize(
        sequences=given.sequences,
        length=given.length,
        width=given.width,
        layers=given.layers,
        vocabulary=given.vocabulary,
        k=given.k,
        device=given.device,
        precision=given.precision,
    )
    with reporter("bench steps") as report:
        report(f"{len(names)} contenders, {given.repeats} rounds", 0, 1)
        rows = run(size, names, given.kernel, given.threads, given.repeats)
        report(f"{len(names)} contenders, {given.repeats} rounds", 1, 1)
    path = given.output and write(rows, given.output, f"bench_steps.{size.device}", given.threads, given.quick)
    if given.json:
        print(json.dumps({"size": size.name, "rows": as_json(rows), "file": path and str(path)}, indent=2))
        return 0
    print(f"{size.name}, threads: {given.threads}")
    for name in names:
        own = [r for r in rows if r.subject == name and r.value is not None]
        seconds = median(r.value for r in own if r.metric == SECONDS and r.value is not None)
        ratios = {r.metric: r.value for r in own if r.metric.endswith("/sft")}
        cpu = ratios.get(f"{CPU_SECONDS}/sft", 1.0)
        print(f"{name:18s} {seconds:8.3f} s   {ratios.get(f'{SECONDS}/sft', 1.0):.3f} of sft   CPU time {cpu:.3f}")
    if path:
        print(path)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
