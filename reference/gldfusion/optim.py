"""The optimizer of a recipe, and its learning rate.

The learning rate depends on the step and the number of steps alone, so a resumed training needs no saved scheduler.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from gldfusion.recipe import TrainSpec


def make_optimizer(model: nn.Module, train: TrainSpec) -> torch.optim.Optimizer:
    """AdamW or plain SGD. Weight decay applies to matrices only, not to vectors (norms and biases)."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": train.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=train.learning_rate)
    return torch.optim.AdamW(groups, lr=train.learning_rate, betas=train.betas, fused=True)


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
