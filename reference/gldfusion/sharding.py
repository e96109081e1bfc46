"""Weights, gradients and moments in parts, one on each process (FSDP2 of torch).

The launcher of Accelerate asks for it (`accelerate launch --use_fsdp --fsdp_version 2`). On a CPU, Accelerate would
keep the whole model in every process without a word. So the pivot is sharded here, on a CPU and on GPUs alike: each
layer for itself, and the embeddings, the last norm and the output layer together. These last ones stay whole from the
forward pass to the end of the backward pass, because our kernels and losses read the matrix of the output layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed import (
    ProcessGroup,
    all_gather_object,
    broadcast,
    broadcast_object_list,
    get_rank,
    is_initialized,
)
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from gldfusion.errors import InputError
from gldfusion.layers import repeated_layers

SHARDS = "shards"
"""the folder in a state that holds the parts of all processes"""
ASKED = "ACCELERATE_USE_FSDP"
"""the variable with which the launcher of Accelerate asks for FSDP"""


@dataclass(frozen=True)
class Sharding:
    """What the launcher asks of FSDP2."""

    reshard: bool
    """whether a layer is given away again after its forward pass, and fetched anew for the backward pass"""
    offload: bool
    """whether the parts lie in main memory while they are not used"""


@dataclass(frozen=True)
class Parts:
    """What a process holds of a sharded training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer


def asked_sharding() -> Sharding | None:
    """What the launcher asks for; None if it does not ask for FSDP.

    Raises:
        InputError: it asks for the first version of FSDP, or for settings that Accelerate refuses.
    """
    if os.environ.get(ASKED, "false").lower() != "true":
        return None
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise InputError(
            f"the launcher asks for FSDP in version {version}, which keeps no whole matrix for our kernels\n"
            "give --fsdp_version 2, or fsdp_version: 2 in the configuration of Accelerate"
        )
    if os.environ.get("FSDP_ACTIVATION_CHECKPOINTING", "false").lower() == "true":
        raise InputError(
            "the launcher asks for fsdp_activation_checkpointing, which this program does not read\n"
            "set train.gradient_checkpointing: true in the recipe, and turn the option of the launcher off"
        )
    try:
        plugin = FullyShardedDataParallelPlugin()
    except (ValueError, ImportError) as error:
        raise InputError(f"the launcher's settings of FSDP are wrong: {error}\ncorrect them") from error
    return Sharding(
        reshard=bool(plugin.reshard_after_forward), offload=isinstance(plugin.cpu_offload, CPUOffloadPolicy)
    )


@contextmanager
def own_sharding() -> Iterator[None]:
    """Inside, Accelerate and transformers do not see that FSDP was asked for: the sharding is done here."""
    before = os.environ.pop(ASKED, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[ASKED] = before


def of_main_process(value: Any) -> Any:
    """What the main process gives, in every process. All must call this; the value of the others is not read."""
    given = [value]
    broadcast_object_list(given, src=0)
    return given[0]


@contextmanager
def refused_together(processes: int) -> Iterator[None]:
    """If one process raises an `InputError` inside, all processes raise it at the end, and none waits for another."""
    refused = None
    try:
        yield
    except InputError as error:
        refused = error
    told: list[InputError | None] = [None] * processes
    all_gather_object(told, refused)
    if first := refused or next(filter(None, told), None):
        raise first


def shard(model: PreTrainedModel, sharding: Sharding, processes: int, device: torch.device) -> None:
    """Spreads a model over the processes, which all must call this.

    Only the main process needs the weights. In the others the model may be on the device "meta". The main process sends
    one whole weight after the other, of which each process keeps its part, and all buffers. Gradients are averaged in
    float32, or in the type of the weights if that is wider.

    Args:
        model: the model, which is changed.
        sharding: what the launcher asks for.
        processes: number of processes.
        device: of this process.

    Raises:
        InputError: the layers of the model are not known, or the main process has other parameters.
    """
    layers = repeated_layers(model)
    with refused_together(processes):
        weights, buffers = _weights_and_buffers(model)
    offload = sharding.offload and device.type == "cuda"
    half = any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters() if p.requires_grad)
    settings: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (processes,)),
        "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32 if half else None),
        "offload_policy": CPUOffloadPolicy() if offload else OffloadPolicy(),
    }
    for layer in layers:
        fully_shard(layer, reshard_after_forward=sharding.reshard, **settings)
    fully_shard(model, reshard_after_forward=False, **settings)
    if not weights:
        model.to_empty(device="cpu" if offload else device)
        for name, buffer in model.named_buffers():
            buffer.data = buffers[name].to(device)
    _send_weights(model, weights, device)


def _weights_and_buffers(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights by name, in the main process only; and its buffers, on the CPU, in every process.

    In the other processes the parameters become like those of the main one: their types, and whether they are trained.

    Raises:
        InputError: the main process has other parameters.
    """
    parameters = dict(model.named_parameters())
    if get_rank() == 0:
        buffers = {name: buffer.cpu() for name, buffer in model.named_buffers()}
        of_main_process(({name: (p.dtype, p.requires_grad) for name, p in parameters.items()}, buffers))
        return {name: parameter.detach() for name, parameter in parameters.items()}, buffers
    kinds, buffers = of_main_process(None)
    shared = dict(model.named_parameters(remove_duplicate=False))
    for name in kinds.keys() & shared.keys() - parameters.keys():
        # the configuration ties two matrices of which the checkpoint stores different ones
        place, _, own = name.rpartition(".")
        model.get_submodule(place).register_parameter(own, nn.Parameter(torch.empty_like(shared[name])))
    parameters = dict(model.named_parameters())
    if list(parameters) != list(kinds):
        raise InputError(
            "the parameters of the pivot are not those of its configuration: its weights may be quantised\n"
            "use its unquantised original, or launch without FSDP"
        )
    for name, (dtype, trained) in kinds.items():
        parameters[name].data = parameters[name].data.to(dtype)
        parameters[name].requires_grad_(trained)
    return {}, buffers


@torch.no_grad()
def _send_weights(model: nn.Module, whole: dict[str, Tensor], device: torch.device) -> None:
    """Gives each process its parts of the weights `whole`, which only the main process has."""
    for name, parameter in model.named_parameters():
        part = cast(DTensor, parameter)
        sent = whole[name].to(device) if whole else torch.empty(part.shape, dtype=part.dtype, device=device)
        broadcast(sent.contiguous(), src=0)
        mine = distribute_tensor(sent, part.device_mesh, part.placements, src_data_rank=None)
        part.to_local().copy_(mine.to_local())


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` was called for the model."""
    return isinstance(model, FSDPModule)


def gather_nothing(model: nn.Module) -> None:
    """Gives away what a forward pass without a backward pass left whole. Does nothing if the model is not sharded."""
    if isinstance(model, FSDPModule):
        model.reshard()


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """The trained weights of a sharded model by name, on the CPU of the main process; empty in the others.

    All processes must call this.
    """
    gather_nothing(model)
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=_has_frozen(model))
    found = cast(dict[str, Tensor], get_model_state_dict(model, options=options))
    names = list(model.named_parameters(remove_duplicate=False))
    held = {id(parameter): found[name] for name, parameter in names if name in found}
    tied = {name: held[id(parameter)] for name, parameter in names if id(parameter) in held}
    return found | tied  # torch names a tied weight once


def begin_shards(parts: Parts, folder: Path, group: ProcessGroup) -> Future[Any]:
    """Copies the trained weights and the optimizer's state into main memory, and lets a thread write the copy.

    Every process writes its own parts. Training may go on at once.

    Args:
        parts: what this process holds.
        folder: the folder of the state. On several machines it must lie on a disk that all of them see.
        group: all processes, for what the threads tell each other. No other thread may use it.

    Returns:
        It is done in the main process when all processes have written their parts; `written` waits for it.
    """
    model, optimizer = parts.model, parts.optimizer
    gather_nothing(model)
    options = StateDictOptions(ignore_frozen_params=_has_frozen(model))
    weights, moments = get_state_dict(model, optimizer, options=options)
    state = {"model": weights, "optimizer": moments}
    return cast("Future[Any]", async_save(state, checkpoint_id=folder / SHARDS, process_group=group))


def written(writing: Future[Any], folder: Path) -> None:
    """Waits until `begin_shards` has written a state.

    Raises:
        OSError: the disk is full, here or in another process.
    """
    try:
        writing.result()
    except CheckpointException as error:  # it is no Exception
        reason = next(iter(error.failures.values()))[0]
        raise reason if isinstance(reason, OSError) else OSError(f"the state {folder} was not written: {reason}") from (
            error
        )


def load_shards(parts: Parts, folder: Path) -> None:
    """Loads what `save_shards` wrote, for any number of processes, into a model that is sharded or whole.

    Raises:
        ValueError: the parts belong to another model or cannot be read.
    """
    model, optimizer = parts.model, parts.optimizer
    gather_nothing(model)
    options = StateDictOptions(ignore_frozen_params=_has_frozen(model), strict=not _has_frozen(model))
    weights, moments = get_state_dict(model, optimizer, options=options)
    try:
        load({"model": weights, "optimizer": moments}, checkpoint_id=folder / SHARDS, no_dist=not is_initialized())
    except CheckpointException as error:  # it is no Exception
        raise ValueError(str(next(iter(error.failures.values()))[0])) from error
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments, options=options)


def _has_frozen(model: nn.Module) -> bool:
    return any(not p.requires_grad for p in model.parameters())
