"""Reads and checks everything that a fusion needs before its first step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedTokenizerFast

from gldfusion.cache import SourceCache
from gldfusion.cache.columns import needed_columns
from gldfusion.cache.store import cached_tokenizer
from gldfusion.data import FusionData, data_hash, read_examples
from gldfusion.errors import InputError
from gldfusion.files import hash_checkpoint, hash_json
from gldfusion.kernels.dispatch import require_kernel
from gldfusion.memory import PeakMemory
from gldfusion.model import SignalModel, load_model, load_tokenizer
from gldfusion.objective import TotalLoss
from gldfusion.optim import make_optimizer
from gldfusion.recipe import Recipe, SourceSpec, TrainSpec, check_paths
from gldfusion.sources import Control, Example, LiveSource, SourceSignals


@dataclass(frozen=True)
class Fusion:
    """Everything that a training step needs."""

    recipe: Recipe
    accelerator: Accelerator
    tokenizer: PreTrainedTokenizerFast
    data: FusionData
    coverage: dict[str, float]
    """source name -> share of the pivot's labelled positions that are paired with it"""
    loss: TotalLoss
    model: nn.Module
    """a `SignalModel`, wrapped by `accelerator`"""
    optimizer: torch.optim.Optimizer
    identity: dict[str, str]
    """name -> hash of what determines the result: recipe, pivot, data, sources"""
    state: Path
    """folder of the saved training state"""
    memory: PeakMemory


def prepare(recipe: Recipe, accelerator: Accelerator, state: Path) -> Fusion:
    """Reads and checks everything, in the order of cost: the cheapest checks come first.

    Args:
        recipe: the recipe.
        accelerator: places the model and joins the processes.
        state: folder of the saved training state; it need not exist.

    Raises:
        InputError: a loss, a path, a file or a combination of settings is wrong.
    """
    memory = PeakMemory(accelerator.device)
    loss = TotalLoss(recipe)
    check_paths(recipe)
    check_batch_size(recipe.train, accelerator.num_processes)
    require_kernel(recipe.train.kernel, accelerator.device, kept(recipe))
    examples = read_examples(recipe.data)
    tokenizer = load_tokenizer(recipe.pivot, recipe.trust_remote_code)
    k = kept(recipe) if loss.terms else 1
    pivot = load_model(recipe.pivot, trust_remote_code=recipe.trust_remote_code)
    model = SignalModel(pivot, k, loss.needs, recipe.train.kernel)
    specs = recipe.used_sources
    sources = [open_source(s, recipe, examples, accelerator.device, loss.needs) for s in specs]
    data = FusionData(examples, tokenizer, recipe.train.max_length, sources)
    loss.check(sources, data.vocabulary_hash)
    if "mapped" in loss.needs:
        loss.translate(tokenizer, {s.name: source_tokenizer(s, recipe.trust_remote_code) for s in specs}, sources)
    coverage = check_coverage(data, recipe.min_coverage)
    model, optimizer = accelerator.prepare(model, make_optimizer(model, recipe.train))
    used = [source_identity(s, o) for s, o in zip(specs, sources, strict=True)]
    identity = {
        "recipe": hash_json(recipe.model_dump(mode="json", exclude={"pivot", "data", "sources"})),
        "pivot": hash_checkpoint(recipe.pivot),
        "data": data_hash(examples),
        "sources": hash_json(used),
    }
    return Fusion(
        recipe=recipe,
        accelerator=accelerator,
        tokenizer=tokenizer,
        data=data,
        coverage=coverage,
        loss=loss,
        model=model,
        optimizer=optimizer,
        identity=identity,
        state=state,
        memory=memory,
    )


def source_identity(spec: SourceSpec, source: SourceSignals) -> dict[str, object]:
    """What determines the signals of a source and their share of the loss.

    Args:
        spec: the source in the recipe.
        source: the opened source.
    """
    inner = source.source if isinstance(source, Control) else source
    return {
        "name": spec.name,
        "weight": spec.weight,
        "control": spec.control,
        "dtype": spec.dtype,
        "checkpoint": source.checkpoint_hash,
        "cache": inner.content if isinstance(inner, SourceCache) else None,
    }


def kept(recipe: Recipe) -> int | None:
    """How many logits are kept per position. None means all."""
    return None if recipe.k == "full" else recipe.k


def check_batch_size(train: TrainSpec, processes: int) -> None:
    """Checks that the batch divides evenly among the processes, so that all have the same number of micro-batches.

    Raises:
        InputError: it does not.
    """
    if train.batch_size % processes:
        raise InputError(
            f"batch_size {train.batch_size} does not divide evenly among {processes} processes\n"
            f"choose a multiple of {processes}"
        )


def open_source(
    spec: SourceSpec, recipe: Recipe, examples: Sequence[Example], device: torch.device, needs: Collection[str]
) -> SourceSignals:
    """Opens a source, live or cached, and puts its control around it if it has one.

    Args:
        spec: the source.
        recipe: gives k, max_length and the seed of the control.
        examples: all training texts, from which the shuffled control draws.
        device: where a live source runs if `spec` names no device.
        needs: what the terms need of a signal; see `TotalLoss.needs`.

    Raises:
        InputError: the checkpoint or cache cannot be used, or they do not belong together.
    """
    k = kept(recipe)
    if spec.cache is None:
        where, length = spec.device or device, recipe.train.max_length
        source: SourceSignals = LiveSource(
            name=spec.name,
            checkpoint=spec.checkpoint,
            k=k,
            max_length=length,
            device=where,
            dtype=spec.dtype,
            offload=spec.offload,
            trust_remote_code=recipe.trust_remote_code,
            stay=spec.control == "none",  # controls draw from numpy arrays
        )
    elif k is None:
        raise InputError(f"source {spec.name}: k: full needs a live source\nset k, or remove the source's `cache` key")
    else:
        source = SourceCache(spec.name, spec.cache, k)
        source.require(needed_columns(needs))
        source.require_settings(max_length=recipe.train.max_length, dtype=spec.dtype)
        if spec.checkpoint.is_dir() and hash_checkpoint(spec.checkpoint) != source.checkpoint_hash:
            raise InputError(
                f"source {spec.name}: the cache {spec.cache} was made by another checkpoint than {spec.checkpoint}\n"
                "delete the cache and build it again with `gldbench cache`, or correct the source's `checkpoint` key"
            )
    return source if spec.control == "none" else Control(source, spec.control, examples, recipe.train.seed)


def source_tokenizer(spec: SourceSpec, trust_remote_code: bool) -> PreTrainedTokenizerFast:
    """The tokenizer of a source, from its checkpoint, or from its cache if the checkpoint does not exist."""
    if spec.cache is not None and not spec.checkpoint.is_dir():
        return cached_tokenizer(spec.cache)
    return load_tokenizer(spec.checkpoint, trust_remote_code)


def check_coverage(data: FusionData, least: float) -> dict[str, float]:
    """Measures which share of the pivot's labelled positions is paired with each source.

    Args:
        data: the training data.
        least: smallest share that is accepted.

    Returns:
        Source name -> share.

    Raises:
        InputError: a share is 0 or below `least`.
    """
    coverage = {source.name: data.coverage(source) for source in data.sources}
    for name, share in coverage.items():
        if share == 0 or share < least:
            raise InputError(
                f"source {name}: {share:.1%} of the pivot's labelled positions are paired with the source's, "
                f"expected {f'at least {least:.1%}' if least else 'some'}\n"
                "its tokenizer, template, max_length or cached texts do not fit the training data"
            )
    return coverage
