"""Reads and checks everything that a fusion needs before its first step."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedTokenizerFast

from gldfusion.cache import SourceCache
from gldfusion.cache.columns import needed_columns
from gldfusion.cache.store import cached_tokenizer
from gldfusion.chat import RULES
from gldfusion.controls import Control
from gldfusion.data import FusionData
from gldfusion.errors import InputError
from gldfusion.files import hash_json
from gldfusion.hashes import hash_checkpoint
from gldfusion.inputs import require_embedded
from gldfusion.kernels.dispatch import require_kernel
from gldfusion.memory import PeakMemory
from gldfusion.model import SignalModel, load_tokenizer, vocabulary_size
from gldfusion.objective import TotalLoss
from gldfusion.optim import make_optimizer, require_optimizer
from gldfusion.packing import Packer, packer_of, reason_to_pad
from gldfusion.paths import hidden
from gldfusion.pivot import load_pivot
from gldfusion.positions import require_positions
from gldfusion.reading import shown
from gldfusion.recipe import DataPart, Recipe, SourceSpec, TrainSpec, steps_of
from gldfusion.recipe_paths import check_paths
from gldfusion.sharding import Sharding, gather_nothing, is_sharded
from gldfusion.sources import Example, LiveSource, SourceSignals
from gldfusion.texts import Texts, encoding_of, load_texts
from gldfusion.vocab import require_map_folder

_log = logging.getLogger(__name__)


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
    """name -> hash of what determines the result: recipe, pivot, data, rules for prompts, sources"""
    output: Path
    """folder of the fused checkpoint"""
    state: Path
    """folder of the saved training states"""
    steps: int
    """number of optimizer steps"""
    unpacked: str | None
    """why texts do not share rows; None if they do"""
    validation: FusionData | None
    """texts on which the loss is measured while training"""
    memory: PeakMemory
    sharded: bool
    """whether each process holds a part of the pivot only"""


def prepare(recipe: Recipe, accelerator: Accelerator, output: Path, sharding: Sharding | None = None) -> Fusion:
    """Reads and checks everything, in the order of cost: the cheapest checks come first.

    Args:
        recipe: the recipe.
        accelerator: places the model and joins the processes.
        output: folder of the fused checkpoint.
        sharding: how the pivot is spread over the processes. None, or one process: it is not.

    Raises:
        InputError: a loss, a path, a file or a combination of settings is wrong.
    """
    memory = PeakMemory(accelerator.device)
    loss = TotalLoss(recipe)
    if loss.translates:
        require_map_folder()
    check_paths(recipe)
    check_batch_size(recipe.train, accelerator.num_processes)
    require_optimizer(recipe.train)
    require_kernel(recipe.train.kernel, accelerator.device, kept(recipe))
    tokenizer = load_tokenizer(recipe.pivot, recipe.trust_remote_code)
    texts = load_texts(recipe.data, recipe.data_seed, tokenizer, encoding_of(recipe))
    k = kept(recipe) if loss.terms else 1
    sharded = sharding is not None and accelerator.num_processes > 1
    if sharded:
        require_shardable(recipe)
    model = load_pivot(recipe, k, loss.needs, accelerator, sharding if sharded else None)
    pivot = model.model
    specs = recipe.used_sources
    sources = [open_source(s, recipe, texts.examples, accelerator.device, loss.needs) for s in specs]
    data = FusionData(texts, tokenizer, sources)
    warn_of_special(texts, recipe.special_tokens_in_text)
    embeddings = cast(nn.Embedding, pivot.get_input_embeddings()).weight.shape[0]
    for number in np.flatnonzero(texts.largest >= embeddings)[:1].tolist():
        require_embedded(texts.encoded[number], embeddings, tokenizer, texts.examples[number].id)
    require_positions(pivot, int(texts.lengths.max()), "the longest text of the data")
    unpacked = reason_not_to_pack(recipe.train, accelerator, model)
    data.packer = packer_of(model, unpacked)
    loss.check(sources, data.vocabulary_hash, vocabulary_size(tokenizer))
    if loss.translates:
        loss.translate(tokenizer, {s.name: source_tokenizer(s, recipe.trust_remote_code) for s in specs}, sources)
    coverage = check_coverage(data, recipe.min_coverage)
    trained, optimizer = join_processes(model, recipe.train, accelerator)
    used = [source_identity(s, o) for s, o in zip(specs, sources, strict=True)]
    identity = {
        "recipe": hash_json(recipe.deciding()),
        "pivot": hash_checkpoint(recipe.pivot),
        "data": texts.hash,
        "prompts": hash_json(RULES),
        "sources": hash_json(used),
    }
    return Fusion(
        recipe=recipe,
        accelerator=accelerator,
        tokenizer=tokenizer,
        data=data,
        coverage=coverage,
        loss=loss,
        model=trained,
        optimizer=optimizer,
        identity=identity,
        output=output,
        state=hidden(output, "state"),
        steps=steps_of(recipe.train, len(data.usable)),
        unpacked=unpacked,
        validation=validation_data(recipe, tokenizer, data.packer),
        memory=memory,
        sharded=sharded,
    )


def require_shardable(recipe: Recipe) -> None:
    """Checks that the pivot's weights can be spread over processes.

    Raises:
        InputError: they are in 4 bits.
    """
    if recipe.train.lora is not None and recipe.train.lora.quantization != "none":
        raise InputError(
            "FSDP was asked for, and weights in 4 bits (train.lora.quantization: nf4) are not spread over processes\n"
            "launch without FSDP, or set quantization: none and train.weights: bfloat16"
        )


def join_processes(
    model: SignalModel, train: TrainSpec, accelerator: Accelerator
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Makes the optimizer, and makes the processes train together.

    Accelerate would wrap a sharded model once more, and copy all gradients. So it gets only models that are not.
    """
    if not is_sharded(model.model):
        return accelerator.prepare(model, make_optimizer(model, train))
    gather_nothing(model.model)
    if train.precision == "bf16":
        model.forward = torch.autocast(accelerator.device.type, torch.bfloat16)(model.forward)
    return model, make_optimizer(model, train)


def validation_data(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, packer: Packer | None) -> FusionData | None:
    """Reads the validation texts of a recipe, if it names some."""
    if recipe.validation is None:
        return None
    texts = load_texts([DataPart(path=recipe.validation)], 0, tokenizer, encoding_of(recipe))
    return FusionData(texts, tokenizer, [], packer)


def reason_not_to_pack(train: TrainSpec, accelerator: Accelerator, model: SignalModel) -> str | None:
    """Why every text of a batch has a row of its own; None if texts share rows. All processes get the same answer."""
    if not train.packing:
        return "the recipe turns packing off"
    if not is_sharded(model.model):
        model.to(accelerator.device)
    reason = reason_to_pad(model, accelerator.device)
    gather_nothing(model.model)
    failed = torch.tensor(int(reason is not None), device=accelerator.device)
    if int(cast(torch.Tensor, accelerator.reduce(failed, "sum"))) and reason is None:
        return "another process found that its model cannot be packed"
    return reason


def require_same_reading(spec: SourceSpec, source: SourceCache, recipe: Recipe) -> None:
    """Checks that a cache read special tokens that are typed in the data as the recipe does.

    Raises:
        InputError: it did not.
    """
    made = source.meta.get("special_tokens_in_text", "parse")
    if (made == "text") != (recipe.special_tokens_in_text == "text"):
        raise InputError(
            f"source {spec.name}: its cache was made with special_tokens_in_text: {shown(made)}, the recipe says "
            f"{recipe.special_tokens_in_text}\nname another cache folder and build it with `gldbench cache`"
        )


def warn_of_special(texts: Texts, special: str) -> None:
    """Tells how many examples hold special tokens that somebody typed, and how they are read."""
    if texts.with_special:
        number, word = texts.with_special[0]
        _log.warning(
            "warning: special tokens of the pivot are typed in %d of %d examples (%r in example %s); "
            "they are read as %s: see special_tokens_in_text",
            *(len(texts.with_special), len(texts.examples), word, texts.examples[number].id),
            "special tokens" if special == "parse" else "text",
        )


def source_identity(spec: SourceSpec, source: SourceSignals) -> Mapping[str, object]:
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
        **({"drawn_from": source.content} if isinstance(source, Control) else {}),
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
    if train.on_policy is not None and processes > 1:
        raise InputError(
            f"train.on_policy runs in one process, and {processes} were started\nstart one, or remove train.on_policy"
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
            packing=recipe.train.packing,
            special=recipe.special_tokens_in_text,
            stay=spec.control == "none",  # controls draw from numpy arrays
        )
    elif k is None:
        raise InputError(f"source {spec.name}: k: full needs a live source\nset k, or remove the source's `cache` key")
    else:
        source = SourceCache(spec.name, spec.cache, k)
        source.require(needed_columns(needs))
        require_same_reading(spec, source, recipe)
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
    return load_tokenizer(spec.checkpoint, trust_remote_code, weights=spec.cache is None)


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
