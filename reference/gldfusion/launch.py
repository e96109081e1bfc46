"""Starts Accelerate so that its launcher and the environment cannot change what the recipe says."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, GradientAccumulationPlugin, InitProcessGroupKwargs
from torch.distributed import init_process_group, is_initialized

from gldfusion.errors import InputError
from gldfusion.progress import tracking_folder
from gldfusion.recipe import TrainSpec

PATIENCE = timedelta(hours=1)
"""how long a process waits for the others: one may read a large pivot while they wait"""


def start_accelerator(train: TrainSpec, tracker: str | None, output: Path, offload: bool = False) -> Accelerator:
    """Joins the processes of this fusion. Precision and micro-batches are those of the recipe.

    Args:
        train: the recipe's settings of the training.
        tracker: name of the tracker that gets the log; None: there is none.
        output: the fused checkpoint. The files of the tracker go beside it.
        offload: whether GPUs keep parts of the pivot in main memory, so that tensors there are exchanged too.

    Raises:
        InputError: the launcher or the environment asks for another precision, or DeepSpeed to train something else.
    """
    require_precision(train.precision)
    if offload and "RANK" in os.environ and torch.cuda.is_available() and not is_initialized():
        init_process_group("cuda:nccl,cpu:gloo", timeout=PATIENCE)  # Accelerate would take nccl alone
    AcceleratorState._reset_state()  # otherwise the precision of this process's first fusion applies to all later ones
    accelerator = Accelerator(
        mixed_precision=train.precision,
        cpu=not torch.cuda.is_available(),
        log_with=tracker,
        project_dir=str(tracking_folder(output)) if tracker else None,
        # Without this, ACCELERATE_GRADIENT_ACCUMULATION_STEPS would divide every gradient: the loss is already a sum.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    plugin = accelerator.state.deepspeed_plugin
    if accelerator.distributed_type == DistributedType.DEEPSPEED and plugin is not None:
        fit_deepspeed(plugin.deepspeed_config, train)
    return accelerator


def fit_deepspeed(config: dict[str, Any], train: TrainSpec) -> None:
    """Checks that DeepSpeed would train what the recipe says, and fills in what it cannot know.

    Args:
        config: the configuration of DeepSpeed, which is changed.
        train: the recipe's settings of the training.

    Raises:
        InputError: it would divide the gradients, clip them at another norm, or spread the weights (stage 3).
    """
    steps = config.get("gradient_accumulation_steps", 1)
    if steps not in (1, "1", "auto"):
        raise InputError(
            f"DeepSpeed is asked for gradient_accumulation_steps {steps}, which would divide every gradient\n"
            "set it to 1; train.micro_batch_size of the recipe splits a step"
        )
    stage = config.get("zero_optimization", {}).get("stage", 0)
    if str(stage) == "3":
        raise InputError(
            "DeepSpeed is asked for stage 3 of ZeRO, which hides the matrix of the output layer from our kernels\n"
            "set zero_stage: 2, or use FSDP2, which spreads the weights too"
        )
    norm = config.get("gradient_clipping", "auto")
    if norm != "auto" and float(norm) != train.max_grad_norm:
        raise InputError(
            f"DeepSpeed is asked for gradient_clipping {norm}, the recipe for max_grad_norm {train.max_grad_norm:g}\n"
            "make them equal, or set gradient_clipping: auto"
        )
    config["gradient_clipping"] = train.max_grad_norm
    config["gradient_accumulation_steps"] = 1
    if config.get("train_micro_batch_size_per_gpu", "auto") == "auto":
        config["train_micro_batch_size_per_gpu"] = 1  # DeepSpeed only counts with it; it sees no data loader


def require_precision(precision: str) -> None:
    """Checks that the launcher asks for the recipe's precision.

    `accelerate launch` sets "no" if it is given no --mixed_precision, so "no" leaves the choice to the recipe.

    Raises:
        InputError: it asks for another one.
    """
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if asked not in ("no", precision):
        raise InputError(
            f"accelerate (ACCELERATE_MIXED_PRECISION) asks for precision {asked}, the recipe for {precision}\n"
            f"launch without --mixed_precision and unset the variable, or change train.precision of the recipe"
        )
