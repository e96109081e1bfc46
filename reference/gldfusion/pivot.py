"""Loads the pivot of a fusion: its weights, adapters, attention and layers, in one process or spread over several."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from gldfusion.layers import recompute_layers
from gldfusion.model import SignalModel, load_model, model_without_weights
from gldfusion.packing import set_attention
from gldfusion.recipe import Recipe
from gldfusion.sharding import Sharding, of_main_process, refused_together, shard


def load_pivot(
    recipe: Recipe, k: int | None, needs: Collection[str], accelerator: Accelerator, sharding: Sharding | None
) -> SignalModel:
    """Loads the pivot with what the recipe says of its weights, attention, adapters and recomputed layers.

    Args:
        recipe: the recipe.
        k: how many logits the signals keep per position; None: all.
        needs: what the losses read; see `SignalModel`.
        accelerator: joins the processes.
        sharding: how the pivot is spread over the processes, of which only the main one reads the weights then. None:
            each process has the whole pivot.

    Raises:
        InputError: the checkpoint is wrong, a package is missing, or the pivot has no such modules.
    """
    kernel = recipe.train.kernel
    if sharding is None:
        return SignalModel(_pivot(recipe, True), k, needs, kernel)
    main = accelerator.is_main_process
    with refused_together(accelerator.num_processes):
        pivot = _pivot(recipe, main)
        model = SignalModel(pivot, k, needs, kernel) if main else None
    measured = of_main_process(model.after_head if model else None)
    model = model or SignalModel(pivot, k, needs, kernel, measured)
    shard(pivot, sharding, accelerator.num_processes, accelerator.device)
    return model


def _pivot(recipe: Recipe, weights: bool) -> PreTrainedModel:
    """The pivot with its weights, or with parameters that have shapes only (device "meta")."""
    train, lora, remote = recipe.train, recipe.train.lora, recipe.trust_remote_code
    if lora is None:
        pivot = load_model(recipe.pivot, train.weights, remote) if weights else _empty(recipe)
    else:
        from gldfusion.lora import add_adapters, four_bits  # loads peft, which most trainings do not need

        bits = four_bits(train) if lora.quantization == "nf4" else None
        pivot = load_model(recipe.pivot, train.weights, remote, bits) if weights else _empty(recipe)
        add_adapters(pivot, lora, recipe.pivot, train.seed)
        if not weights:
            cast(nn.Module, pivot).to("meta")  # peft made the adapters on the CPU
    set_attention(pivot, train.attention)
    if train.gradient_checkpointing:
        recompute_layers(pivot)
    return pivot


def _empty(recipe: Recipe) -> PreTrainedModel:
    return model_without_weights(recipe.pivot, recipe.train.weights, recipe.trust_remote_code)
