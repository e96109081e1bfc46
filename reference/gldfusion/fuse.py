"""The training loop. Read it from top to bottom.

Each term of the loss is a sum over its units (labelled positions, paired positions or sequences). It is divided by the
number of units in the *whole* optimizer step, over all micro-batches and processes. Therefore gradient accumulation and
data parallelism change nothing but rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from gldfusion.checkpoint import require_free
from gldfusion.data import Batch
from gldfusion.errors import InputError
from gldfusion.export import export, make_card, make_provenance
from gldfusion.files import lock, remove_leftovers
from gldfusion.launch import start_accelerator
from gldfusion.live import LiveLog, data_lines
from gldfusion.model import SignalModel, parameter_count, quiet, trained_count
from gldfusion.on_policy import works
from gldfusion.optim import learning_rate, seeded, set_learning_rate
from gldfusion.paths import hidden
from gldfusion.prepare import Fusion, prepare
from gldfusion.progress import Progress, Watch, require_tracker
from gldfusion.recipe import Recipe
from gldfusion.sharding import Parts, Sharding, asked_sharding, own_sharding
from gldfusion.state import Log, StateWriter, load_state, remove_states, remove_unfinished, states
from gldfusion.trained import Trained, collect
from gldfusion.validation import copy_best, evaluate, evaluation_due, require_something
from gldfusion.work import Work

NOBODY = Watch()


def fuse(recipe: Recipe, output: Path, progress: Progress | None = None, watch: Watch = NOBODY) -> Path:
    """Trains the pivot by a recipe and writes a checkpoint that any Hugging Face tool can load.

    If the process is killed, the same call resumes at the last saved state. On a CPU with the same number of threads,
    the result is then bitwise equal to that of an undisturbed call.

    Args:
        recipe: the pivot, the data, the sources, the terms and the training settings.
        output: folder of the fused checkpoint. It must not exist.
        progress: called in the main process with (steps done, steps in all).
        watch: hears the live log, and scores the pivot while it is trained.

    Returns:
        `output`.

    Raises:
        InputError: the recipe or a file that it names is wrong, or the loss became infinite or NaN.
        OSError: the disk is full. The last saved state is kept, and no half-written output is left behind.
    """
    if watch.tracker is not None:
        require_tracker(watch.tracker)
    sharding = asked_sharding()
    with own_sharding():
        return _fuse(recipe, output, progress, watch, sharding)


def _fuse(recipe: Recipe, output: Path, progress: Progress | None, watch: Watch, sharding: Sharding | None) -> Path:
    """See `fuse`."""
    accelerator = start_accelerator(
        recipe.train, watch.tracker, output, offload=sharding is not None and sharding.offload
    )
    require_free(output)
    main = accelerator.is_main_process
    lock_file, state = hidden(output, "lock"), hidden(output, "state")
    with lock(lock_file) if main else nullcontext():
        if main:
            remove_leftovers(output)
            remove_unfinished(state)
        try:
            fusion = prepare(recipe, accelerator, output, sharding)
            with quiet():  # transformers warns of packed rows, which have no attention mask
                log = train(fusion, progress if main else None, watch)
        except InputError:
            if main and not state.exists():
                lock_file.unlink(missing_ok=True)  # the recipe was refused before anything was saved
            raise
        accelerator.wait_for_everyone()
        trained = collect(fusion)
        if main:
            finish(fusion, trained, log, output, watch)
        accelerator.wait_for_everyone()
    return output


def train(fusion: Fusion, progress: Progress | None, watch: Watch) -> Log:
    """Runs every step after the last saved one. Returns the log, which has one entry for each step from the first."""
    accelerator, steps, save_every = fusion.accelerator, fusion.steps, fusion.recipe.train.save_every
    require_something(fusion, watch)
    log, first = load_state(accelerator, fusion.state, fusion.identity, parts(fusion))
    require_steps_left(fusion, first)
    tokens, places, seconds = (log[-1][name] for name in ("tokens", "places", "seconds")) if log else (0, 0, 0.0)
    sampling = log[-1].get("sampling_tokens", 0) if log else 0
    started = time.perf_counter() - seconds
    prepared = works(fusion, first)
    live = LiveLog(fusion, watch, log) if accelerator.is_main_process else None
    saving = StateWriter(accelerator, fusion.state, fusion.identity, parts(fusion))
    with closing(prepared), closing(saving), closing(live) if live else nullcontext():
        for step, work in enumerate(prepared, start=first):
            entry = train_step(fusion, step, work)
            tokens, places = tokens + entry.pop("step_tokens"), places + entry.pop("step_places")
            entry |= {"tokens": tokens, "places": places, "seconds": time.perf_counter() - started}
            if fusion.recipe.train.on_policy is not None:
                sampling += work.sampling_tokens
                entry["sampling_tokens"] = sampling
            if evaluation_due(fusion, step + 1):
                evaluate(fusion, watch, log, entry)
            log.append(entry)
            if live:
                live.add(entry)
            if (step + 1) % save_every == 0 and step + 1 < steps:
                saving.save(log)
            if progress:
                progress(step + 1, steps)
    return log


def train_step(fusion: Fusion, step: int, work: Work) -> dict[str, Any]:
    """Runs one optimizer step. It waits for the device once, after all micro-batches.

    Args:
        fusion: the training.
        step: number of the step, from 0.
        work: the step's examples and micro-batches.

    Returns:
        The log entry of the step; `step_tokens`, the tokens that the pivot read in it; and `step_places`, these tokens
        and the padding of the batches.

    Raises:
        InputError: the loss or its gradient is infinite or NaN.
    """
    accelerator, model, optimizer, settings = fusion.accelerator, fusion.model, fusion.optimizer, fusion.recipe.train
    processes, batches = accelerator.num_processes, work.batches
    places = torch.tensor([[batch.tokens, batch.inputs.padding] for batch in batches], dtype=torch.float64).sum(0)
    *units, tokens, padding = total(accelerator, torch.cat([fusion.loss.counts(batches), places]))
    counts, tokens, padding = torch.stack(units), int(tokens), int(padding)
    probing = settings.probe_every and step % settings.probe_every == 0
    shares = gradient_shares(fusion, batches, counts) if probing else {}
    rate = learning_rate(settings, step, fusion.steps)
    set_learning_rate(optimizer, rate)

    terms = torch.zeros_like(counts, device=accelerator.device)
    for number, batch in enumerate(batches, start=1):
        accelerator.gradient_state._set_sync_gradients(number == len(batches))  # DeepSpeed steps when this is true
        with nullcontext() if number == len(batches) else accelerator.no_sync(model):
            values = forward(fusion, model, batch, counts)
            accelerator.backward(sum(values) * processes)  # data parallelism averages gradients: turn it into the sum
        terms += torch.stack(values).detach()
    norm = full(accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)).to(terms)
    *read, norm = total(accelerator, torch.cat([terms, norm[None] / processes])).tolist()  # waits for the device, once
    terms = torch.tensor(read, dtype=counts.dtype)
    check_finite(fusion, step, terms, norm, work.chosen)
    with seeded(settings, step, accelerator.device):
        optimizer.step()
    optimizer.zero_grad()
    return {
        "step": step + 1,
        "steps": fusion.steps,
        "loss": terms.sum().item(),
        "terms": dict(zip(fusion.loss.names, terms.tolist(), strict=True)),
        "gradient_share": shares,
        "learning_rate": rate,
        "processes": processes,
        "padding": padding / (tokens + padding),
        "step_tokens": tokens,
        "step_places": tokens + padding,
    }


def finish(fusion: Fusion, trained: Trained, log: Log, output: Path, watch: Watch) -> None:
    """Writes the fused checkpoint, then deletes the training states."""
    tokens, padding = log[-1]["tokens"], 1 - log[-1]["tokens"] / log[-1]["places"]
    totals = {
        "seconds": log[-1]["seconds"],
        "peak_memory_bytes": fusion.memory.read(),
        "tokens": tokens,
        "flops": flops(fusion.model, tokens, log[-1].get("sampling_tokens", 0)),
        "truncated_examples": fusion.data.truncated,
        "examples_with_special_tokens": len(fusion.data.texts.with_special),
        "dropped_examples": len(fusion.data.examples) - len(fusion.data.usable),
        "padding_share": padding,
    } | {f"coverage/{name}": value for name, value in fusion.coverage.items()}
    hashes = {source.name: source.checkpoint_hash for source in fusion.data.sources}
    processes = fusion.accelerator.num_processes
    provenance = make_provenance(fusion.recipe, fusion.identity, hashes, log, fusion.unpacked, processes)
    card = make_card(fusion.recipe, fusion.steps)
    export(trained, fusion.tokenizer, provenance, card, log, totals, output, partial(copy_best, fusion))
    remove_states(fusion.state)
    say = watch.say
    if say:
        for line in data_lines(fusion, padding):
            say(line)


def flops(model: nn.Module, tokens: int, sampled: int) -> int:
    """Operations of a training by the usual estimate, without attention.

    A weight takes 2 operations for a token in the forward pass, 2 for the gradient of the layer's input, and 2 for its
    own gradient if it is trained.

    Args:
        model: the pivot.
        tokens: tokens that were trained on.
        sampled: tokens that the pivot only read or wrote.
    """
    return (4 * parameter_count(model) + 2 * trained_count(model)) * tokens + 2 * parameter_count(model) * sampled


def require_steps_left(fusion: Fusion, done: int) -> None:
    """Checks that a resumed training has a step to do.

    Raises:
        InputError: the saved state is at or beyond the last step of the recipe.
    """
    if done >= fusion.steps:
        raise InputError(
            f"the saved state {fusion.state} is at step {done}, but the recipe asks for {fusion.steps} steps\n"
            f"give at least {done + 1} steps, or delete the folder to start again from step 1"
        )


def total(accelerator: Accelerator, tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all processes, on the CPU."""
    if accelerator.num_processes == 1:
        return tensor.cpu()
    return cast(Tensor, accelerator.reduce(tensor.to(accelerator.device), "sum")).cpu()


def forward(fusion: Fusion, model: nn.Module, batch: Batch, counts: Tensor) -> list[Tensor]:
    """The weighted terms of one micro-batch, in the order of `TotalLoss.names`."""
    batch = batch.to(fusion.accelerator.device)
    return fusion.loss.values(model(batch.inputs), batch.sources, counts, batch.role)


def gradient_shares(fusion: Fusion, batches: Sequence[Batch], counts: Tensor) -> dict[str, float]:
    """How much each term contributes to the gradient, measured on the first micro-batch that the term reads.

    The contribution of a term is the norm of its gradient over all parameters, divided by the sum of these norms. This
    runs the unwrapped model, so no gradient is accumulated or synchronised.
    """
    bare = fusion.accelerator.unwrap_model(fusion.model)
    if fusion.sharded:
        return sharded_shares(fusion, batches[0], counts)
    parameters = [p for p in bare.parameters() if p.requires_grad]
    norms: dict[str, Tensor] = {}
    for batch in {batch.role: batch for batch in reversed(batches)}.values():
        for name, value in zip(fusion.loss.names, forward(fusion, bare, batch, counts), strict=True):
            if value.requires_grad and not (name == "sft" and batch.role == "sources"):
                gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
                norms[name] = torch.stack([g.double().pow(2).sum() for g in gradients if g is not None]).sum().sqrt()
    measured = dict(zip(norms, torch.stack([*norms.values()]).tolist(), strict=True))
    return {name: norm / (sum(measured.values()) or 1.0) for name, norm in measured.items()}


def sharded_shares(fusion: Fusion, batch: Batch, counts: Tensor) -> dict[str, float]:
    """As `gradient_shares`, with the gradients of the first micro-batches of all processes together.

    A sharded model computes its gradients in a backward pass only, which all processes must start. So each term has a
    forward and a backward pass of its own.
    """
    norms: dict[str, float] = {}
    for number, name in enumerate(fusion.loss.names):
        values = forward(fusion, fusion.model, batch, counts)
        fusion.accelerator.backward(values[number] + 0 * values[0])  # a term without units has no gradient of its own
        gradients = [p.grad for p in fusion.model.parameters() if p.grad is not None]
        norms[name] = float(full(torch.nn.utils.get_total_norm(gradients)))
        fusion.optimizer.zero_grad()
    whole = sum(norms.values()) or 1.0
    return {name: norm / whole for name, norm in norms.items() if norm}


def full(tensor: Any) -> Tensor:
    """The whole tensor, of which each process may hold a part. DeepSpeed gives a number or None instead."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else torch.as_tensor(0.0 if tensor is None else tensor)


def parts(fusion: Fusion) -> Parts | None:
    """The model and the optimizer of a sharded training, for its states; None if it is not sharded."""
    return Parts(cast(SignalModel, fusion.model).model, fusion.optimizer) if fusion.sharded else None


def check_finite(fusion: Fusion, step: int, terms: Tensor, norm: float, chosen: Sequence[int]) -> None:
    """Stops the training before the optimizer uses a loss or gradient that is infinite or NaN."""
    if terms.isfinite().all() and math.isfinite(norm):
        return
    ids = [fusion.data.examples[i].id for i in chosen]
    values = ", ".join(f"{name} {value:.4g}" for name, value in zip(fusion.loss.names, terms.tolist(), strict=True))
    state = f"the last good state is kept in {fusion.state}" if states(fusion.state) else "no state had been saved yet"
    raise InputError(
        f"the loss is not finite at step {step + 1} ({values}, gradient norm {norm:.4g})\n"
        f"batch: examples {', '.join(ids[:8])}{f' and {len(ids) - 8} more' if len(ids) > 8 else ''}\n"
        f"{state}; lower the learning rate, or inspect these examples"
    )
