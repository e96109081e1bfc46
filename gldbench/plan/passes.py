"""Runs a model without memory: parameters, FLOPs, and what the backward pass must keep.

PyTorch's fake tensors have shapes and no numbers. The model of transformers runs on them as it would run in training,
so the counts hold for every architecture. They behave like tensors of the meta device that know a device.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, PreTrainedModel

from gldfusion.errors import InputError
from gldfusion.model import quiet
from gldfusion.probe import hidden_states, output_layer
from gldfusion.reading import plain_line

TARGETS = "all-linear"
"""the layers that get an adapter if a recipe names none: every linear layer but the output layer"""


def _attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    """FLOPs of attention over all pairs of positions: query [b, h, s, d] with key, and the weights with value."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[-2] * (width + value[-1])


COUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
"""what torch's counter of FLOPs leaves out: fake tensors are those of a CPU, for whose attention it has no formula"""


@dataclass(frozen=True)
class Pass:
    """What one forward pass of a micro-batch needs, without the output layer unless a field says so."""

    parameters: int
    """numbers in all weights, the output layer and adapters included; tied weights count once"""
    trainable: int
    """numbers in the weights that are trained"""
    head: int
    """numbers in the output layer: vocabulary size times width"""
    vocabulary: int
    """entries of the output layer"""
    width: int
    """width of the hidden states that the output layer reads"""
    largest_layer: int
    """numbers in the largest of the repeated layers, which FSDP gathers one by one"""
    outside: int
    """numbers in all other weights (embeddings, output layer), which FSDP keeps whole while a step is computed"""
    widest: int
    """largest side of a matrix in the repeated layers: the numbers that a layer makes of one token, at most"""
    places: int
    """tokens of the micro-batch"""
    flops: float
    """of the forward pass, with attention over all pairs of tokens of a row"""
    kept: int
    """bytes that are kept for the backward pass"""

    @property
    def states(self) -> int:
        """Numbers that a layer holds for each token at the same time, at most.

        An MLP holds its gate, the other factor and their product; four states are those before, between and after.
        """
        return 3 * self.widest + 4 * self.width

    @property
    def output_flops(self) -> float:
        """FLOPs of the output layer, forward."""
        return 2.0 * self.head * self.places


@dataclass(frozen=True)
class Shape:
    """What decides a pass, besides the model."""

    rows: int
    """sequences"""
    length: int
    """tokens of each"""
    autocast: bool = False
    """bf16 products from weights of another type"""
    dtype: str = "float32"
    """type of the weights"""
    checkpointing: bool = False
    """only the inputs of layers are kept; the rest is computed again"""
    lora: tuple[int, tuple[str, ...]] | None = None
    """rank and targets of the adapters; None: all weights are trained"""
    training: bool = True
    """whether a backward pass follows"""


def measure(config: Any, shape: Shape) -> Pass:
    """Runs one forward pass on fake tensors.

    Args:
        config: a configuration of transformers.
        shape: the micro-batch and the settings.

    Raises:
        InputError: transformers cannot build or run the model.
    """
    return _measured(config.to_json_string(), type(config), shape)


@cache
def _measured(text: str, kind: type, shape: Shape) -> Pass:
    config = kind.from_dict(json.loads(text))
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for names that it will drop
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, shape.dtype))
                whole = _with_adapters(model, shape)
            with FakeTensorMode():
                _place(whole)
                return _run(whole, model, shape)
    except (ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"a model of type {config.model_type} cannot be planned: {plain_line(error)}\n"
            "its configuration must be one that transformers can build and run"
        ) from error


def _with_adapters(model: PreTrainedModel, shape: Shape) -> nn.Module:
    if shape.lora is None:
        return model
    from peft import LoraConfig, get_peft_model

    rank, targets = shape.lora
    chosen: Any = list(targets) if targets else TARGETS
    return cast(nn.Module, get_peft_model(model, LoraConfig(r=rank, target_modules=chosen, task_type="CAUSAL_LM")))


def _place(model: nn.Module) -> None:
    """Gives weights and buffers of the meta device a fake device. Shared weights stay shared."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for places, kind in ((module._parameters, nn.Parameter), (module._buffers, None)):
            for name, tensor in list(places.items()):
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    made[id(tensor)] = (tensor, kind(empty, tensor.requires_grad) if kind else empty)
                places[name] = made[id(tensor)][1]


def _run(whole: nn.Module, model: PreTrainedModel, shape: Shape) -> Pass:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # dropout is always off in training
    model.eval()
    if shape.checkpointing:
        model.activation_checkpointing_enable()
        model.train()
    weights = {id(storage_of(p)) for p in whole.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = storage_of(tensor)
        if id(storage) not in weights:
            kept[id(storage)] = storage
        return tensor

    counter = FlopCounterMode(display=False, custom_mapping=COUNTED)
    ids = torch.zeros(shape.rows, shape.length, dtype=torch.long)
    saving = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with (
        counter,
        saving if shape.training else torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16) if shape.autocast else nullcontext(),
    ):
        hidden = hidden_states(model, input_ids=ids)
    head, layers = output_layer(model), sizes_of_layers(model)
    parameters = sum(p.numel() for p in whole.parameters())
    return Pass(
        parameters=parameters,
        trainable=sum(p.numel() for p in whole.parameters() if p.requires_grad),
        head=head.weight.numel(),
        vocabulary=head.weight.shape[0],
        width=hidden.shape[-1],
        largest_layer=max(layers, default=0),
        outside=parameters - sum(layers),
        widest=_widest(model),
        places=shape.rows * shape.length,
        flops=float(counter.get_total_flops()),
        kept=sum(storage.nbytes() for storage in kept.values()),
    )


def storage_of(tensor: Tensor) -> Any:
    """The memory of a tensor, one object for all tensors that share it."""
    return tensor.untyped_storage()


def sizes_of_layers(model: nn.Module) -> list[int]:
    """Numbers in the weights of each repeated layer."""
    return [_size(layer) for layer in _layers(model)]


def _layers(model: nn.Module) -> list[nn.Module]:
    """The entries of the module list that has most numbers in its weights."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=_size, default=[]))


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _widest(model: nn.Module) -> int:
    return max((max(p.shape) for layer in _layers(model) for p in layer.parameters() if p.ndim > 1), default=0)
