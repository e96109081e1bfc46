"""The optimizer of a recipe, and its learning rate.

The learning rate depends on the step and the number of steps alone, so a resumed training needs no saved scheduler.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from gldfusion.errors import InputError
from gldfusion.recipe import TrainSpec


def require_optimizer(train: TrainSpec) -> None:
    """Checks that the package of the optimizer is installed, before anything is loaded.

    Raises:
        InputError: it is not.
    """
    if train.optimizer == "adamw_8bit" and find_spec("torchao") is None:
        raise InputError(
            "train.optimizer: adamw_8bit needs the package torchao\n"
            "install it: pip install 'gldbench[lowbit]', or set train.optimizer: adamw"
        )


def make_optimizer(model: nn.Module, train: TrainSpec) -> torch.optim.Optimizer:
    """The optimizer of the parameters that are trained: AdamW, AdamW with 8-bit moments, or plain SGD.

    Weight decay applies to matrices only, not to vectors (norms and biases).
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2]
    vectors = [p for p in trained if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": train.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=train.learning_rate)
    if train.optimizer == "adamw_8bit":
        from torchao.optim import AdamW8bit  # an optional dependency  # pyright: ignore[reportMissingImports]

        filled = [group for group in groups if group["params"]]
        return AdamW8bit(filled, lr=train.learning_rate, betas=train.betas, bf16_stochastic_round=True)
    return torch.optim.AdamW(groups, lr=train.learning_rate, betas=train.betas, fused=True)


@contextmanager
def seeded(train: TrainSpec, step: int, device: torch.device) -> Iterator[None]:
    """Seeds the random rounding of `adamw_8bit` inside the block, by the recipe's seed and the step alone.

    So all processes round alike, and a resumed training rounds as an undisturbed one does.

    Args:
        train: the settings.
        step: number of the step, from 0.
        device: where the weights lie.
    """
    if train.optimizer != "adamw_8bit":
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.default_rng([train.seed, step]).integers(2**62)))
        yield


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameters. Compiled optimizers keep it in a tensor, which must stay the same."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def learning_rate(train: TrainSpec, step: int, steps: int) -> float:
    """The learning rate of a step: a linear warm-up, then the schedule of the recipe.

    Args:
        train: the settings.
        step: number of the step, from 0.
        steps: number of steps in all. The length of the warm-up is a share of it, and `cosine` and `linear` reach 0 at
            it. A training that goes on with another number follows the schedule of the new number from there on.
    """
    warm = max(1, round(train.warmup * steps))
    if step < warm:
        return train.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    factor = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}[train.schedule]
    return train.learning_rate * factor
