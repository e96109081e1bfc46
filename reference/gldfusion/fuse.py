"""The training loop. Read it from top to bottom.

Each term of the loss is a sum over its units (labelled positions, paired positions or sequences). It is divided by the
number of units in the *whole* optimizer step, over all micro-batches and processes. Therefore gradient accumulation and
data parallelism change nothing but rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gldfusion.checkpoint import require_free
from gldfusion.data import Batch
from gldfusion.errors import InputError
from gldfusion.export import export, make_card, make_provenance
from gldfusion.files import lock, remove_leftovers
from gldfusion.launch import start_accelerator
from gldfusion.model import parameter_count
from gldfusion.optim import learning_rate
from gldfusion.paths import hidden
from gldfusion.prepare import Fusion, prepare
from gldfusion.progress import Progress
from gldfusion.recipe import Recipe
from gldfusion.state import Log, load_state, remove_states, remove_unfinished, save_state


def fuse(recipe: Recipe, output: Path, progress: Progress | None = None) -> Path:
    """Trains the pivot by a recipe and writes a checkpoint that any Hugging Face tool can load.

    If the process is killed, the same call resumes at the last saved state. On a CPU with the same number of threads,
    the result is then bitwise equal to that of an undisturbed call.

    Args:
        recipe: the pivot, the data, the sources, the terms and the training settings.
        output: folder of the fused checkpoint. It must not exist.
        progress: called in the main process with (steps done, steps in all).

    Returns:
        `output`.

    Raises:
        InputError: the recipe or a file that it names is wrong, or the loss became infinite or NaN.
        OSError: the disk is full. The last saved state is kept, and no half-written output is left behind.
    """
    accelerator = start_accelerator(recipe.train)
    require_free(output)
    main = accelerator.is_main_process
    lock_file, state = hidden(output, "lock"), hidden(output, "state")
    with lock(lock_file) if main else nullcontext():
        if main:
            remove_leftovers(output)
            remove_unfinished(state)
        try:
            fusion = prepare(recipe, accelerator, state)
            log = train(fusion, progress if main else None)
        except InputError:
            if main and not state.exists():
                lock_file.unlink(missing_ok=True)  # the recipe was refused before anything was saved
            raise
        accelerator.wait_for_everyone()
        if main:
            finish(fusion, log, output)
        accelerator.wait_for_everyone()
    return output


def train(fusion: Fusion, progress: Progress | None) -> Log:
    """Runs every step after the last saved one. Returns the log, which has one entry for each step from the first."""
    steps, save_every = fusion.recipe.train.steps, fusion.recipe.train.save_every
    log, first = load_state(fusion.accelerator, fusion.state, fusion.identity)
    tokens, seconds = (log[-1]["tokens"], log[-1]["seconds"]) if log else (0, 0.0)
    started = time.perf_counter() - seconds
    for step in range(first, steps):
        entry = train_step(fusion, step)
        tokens += entry.pop("step_tokens")
        log.append(entry | {"tokens": tokens, "seconds": time.perf_counter() - started})
        if (step + 1) % save_every == 0 and step + 1 < steps:
            save_state(fusion.accelerator, fusion.state, fusion.identity, log)
        if progress:
            progress(step + 1, steps)
    return log


def train_step(fusion: Fusion, step: int) -> dict[str, Any]:
    """Runs one optimizer step.

    Args:
        step: number of the step, from 0.

    Returns:
        The log entry of the step, and `step_tokens`: the tokens that the pivot read in it.

    Raises:
        InputError: the loss or its gradient is infinite or NaN.
    """
    accelerator, model, optimizer, settings = fusion.accelerator, fusion.model, fusion.optimizer, fusion.recipe.train
    processes = accelerator.num_processes
    chosen = fusion.data.step(step, settings.batch_size, settings.seed)
    batches = micro_batches(fusion, chosen[accelerator.process_index :: processes])
    tokens = torch.tensor([sum(batch.tokens for batch in batches)], dtype=torch.float64)
    *units, step_tokens = total(accelerator, torch.cat([fusion.loss.counts(batches), tokens]))
    counts = torch.stack(units)
    probing = settings.probe_every and step % settings.probe_every == 0
    shares = gradient_shares(fusion, batches[0], counts) if probing else {}
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step)

    terms = torch.zeros_like(counts, device=accelerator.device)
    for number, batch in enumerate(batches, start=1):
        with nullcontext() if number == len(batches) else accelerator.no_sync(model):
            values = forward(fusion, model, batch, counts)
            accelerator.backward(sum(values) * processes)  # data parallelism averages gradients: turn it into the sum
        terms += torch.stack(values).detach()
    norm = cast(Tensor, accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)).to(terms)
    *read, norm = total(accelerator, torch.cat([terms, norm[None] / processes])).tolist()  # waits for the device, once
    terms = torch.tensor(read, dtype=counts.dtype)
    check_finite(fusion, step, terms, norm, chosen)
    optimizer.step()
    optimizer.zero_grad()
    return {
        "step": step + 1,
        "loss": terms.sum().item(),
        "terms": dict(zip(fusion.loss.names, terms.tolist(), strict=True)),
        "gradient_share": shares,
        "learning_rate": learning_rate(settings, step),
        "processes": processes,
        "step_tokens": int(step_tokens),
    }


def finish(fusion: Fusion, log: Log, output: Path) -> None:
    """Writes the fused checkpoint, then deletes the training states."""
    bare = fusion.accelerator.unwrap_model(fusion.model)
    tokens = log[-1]["tokens"]
    totals = {
        "seconds": log[-1]["seconds"],
        "peak_memory_bytes": fusion.memory.read(),
        "tokens": tokens,
        "flops": 6 * parameter_count(bare) * tokens,
        "truncated_examples": fusion.data.truncated,
        "dropped_examples": len(fusion.data.examples) - len(fusion.data.usable),
    } | {f"coverage/{name}": value for name, value in fusion.coverage.items()}
    hashes = {source.name: source.checkpoint_hash for source in fusion.data.sources}
    provenance = make_provenance(fusion.recipe, fusion.identity, hashes, fusion.accelerator.num_processes)
    export(bare.model, fusion.tokenizer, provenance, make_card(fusion.recipe), log, totals, output)
    remove_states(fusion.state)


def micro_batches(fusion: Fusion, indices: Sequence[int]) -> list[Batch]:
    """Splits this process's examples of one step into micro-batches, one for each forward pass."""
    size = fusion.recipe.train.micro_batch_size or len(indices)
    return [fusion.data.batch(indices[first : first + size]) for first in range(0, len(indices), size)]


def total(accelerator: Accelerator, tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all processes, on the CPU."""
    if accelerator.num_processes == 1:
        return tensor.cpu()
    return cast(Tensor, accelerator.reduce(tensor.to(accelerator.device), "sum")).cpu()


def forward(fusion: Fusion, model: nn.Module, batch: Batch, counts: Tensor) -> list[Tensor]:
    """The weighted terms of one micro-batch, in the order of `TotalLoss.names`."""
    batch = batch.to(fusion.accelerator.device)
    return fusion.loss.values(model(batch.inputs), batch.sources, counts)


def gradient_shares(fusion: Fusion, batch: Batch, counts: Tensor) -> dict[str, float]:
    """How much each term contributes to the gradient, measured on one micro-batch.

    The contribution of a term is the norm of its gradient over all parameters, divided by the sum of these norms. This
    runs the unwrapped model, so no gradient is accumulated or synchronised.
    """
    bare = fusion.accelerator.unwrap_model(fusion.model)
    parameters = [p for p in bare.parameters() if p.requires_grad]
    norms = {}
    for name, value in zip(fusion.loss.names, forward(fusion, bare, batch, counts), strict=True):
        if value.requires_grad:
            gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            norms[name] = math.sqrt(sum(float(g.double().pow(2).sum()) for g in gradients if g is not None))
    return {name: norm / (sum(norms.values()) or 1.0) for name, norm in norms.items()}


def check_finite(fusion: Fusion, step: int, terms: Tensor, norm: float, chosen: Sequence[int]) -> None:
    """Stops the training before the optimizer uses a loss or gradient that is infinite or NaN."""
    if terms.isfinite().all() and math.isfinite(norm):
        return
    ids = [fusion.data.examples[i].id for i in chosen]
    values = ", ".join(f"{name} {value:.4g}" for name, value in zip(fusion.loss.names, terms.tolist(), strict=True))
    state = f"the last good state is kept in {fusion.state}" if fusion.state.exists() else "no state had been saved yet"
    raise InputError(
        f"the loss is not finite at step {step + 1} ({values}, gradient norm {norm:.4g})\n"
        f"batch: examples {', '.join(ids[:8])}{f' and {len(ids) - 8} more' if len(ids) > 8 else ''}\n"
        f"{state}; lower the learning rate, or inspect these examples"
    )
