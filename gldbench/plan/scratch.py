"""The memory that the output layer and its loss need for a moment."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gldbench.plan.hardware import Machine
from gldbench.plan.passes import Pass
from gldfusion.kernels.chunked import MAX_SINGLES, Chunked
from gldfusion.objective import TotalLoss
from gldfusion.recipe import Recipe

TRITON = 0.3e9
"""bytes that the Triton kernel needs, measured on an H200 (reports/gpu/gpu_report.csv)"""


@dataclass(frozen=True)
class Kernel:
    """The kernel of the output layer on the machine of a plan."""

    name: str
    """chunked or triton"""
    gpu: bool
    prepared: bool
    """whether the forward pass prepares the gradient, so that few logits are in memory at once"""

    def training(self, one: Pass) -> float:
        """Bytes of a forward and a backward pass.

        The chunked kernel holds logits, two tiles, and the gradient of the layer before it is added to the others.

        Args:
            one: the pass of a micro-batch.
        """
        if self.name == "triton":
            return TRITON
        tiles = self._tiles
        logits = min(one.places * one.vocabulary, tiles.held if self.prepared else tiles.kept)
        return 4.0 * (logits + one.head) + self.reading(one, one.places)

    def reading(self, one: Pass, places: int) -> float:
        """Bytes of a forward pass alone, for so many tokens."""
        if self.name == "triton":
            return TRITON
        return 4.0 * 2 * min(places, self._tiles.rows) * min(one.vocabulary, self._tiles.columns)

    @property
    def _tiles(self) -> Chunked:
        return Chunked.on(torch.device("cuda" if self.gpu else "cpu"))


def kernel_of(recipe: Recipe, machine: Machine) -> Kernel:
    """The kernel that a recipe uses on a machine. On GPUs it is assumed that `auto` chooses Triton.

    Args:
        recipe: the recipe.
        machine: the machine.
    """
    name = "triton" if machine.gpu and recipe.train.kernel != "chunked" else "chunked"
    statistics = {"lse", "moments", "logits", "nll"} & set(TotalLoss(recipe).needs)
    few = recipe.k != "full" and recipe.k <= MAX_SINGLES
    return Kernel(name, machine.gpu, few and not statistics and (machine.gpu or recipe.train.precision == "no"))
