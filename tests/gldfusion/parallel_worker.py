"""One of two processes of a data-parallel fusion; started by test_parallel.py with the variables that torchrun sets.

Arguments: a recipe as JSON, a folder for outputs. Fuses it three times: as it is, and with two planted bugs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor, nn

from gldfusion import fuse as loop
from gldfusion.data import Batch
from gldfusion.prepare import Fusion
from gldfusion.recipe import Recipe

forward, total = loop.forward, loop.total


def own_total(accelerator: Accelerator, tensor: Tensor) -> Tensor:
    """The bug: each process divides by its own units, and the means are averaged."""
    return tensor * accelerator.num_processes


def unwrapped_forward(fusion: Fusion, model: nn.Module, batch: Batch, counts: Tensor) -> list[Tensor]:
    """The bug: the bare module is called, and gradients are never averaged."""
    return forward(fusion, fusion.accelerator.unwrap_model(model), batch, counts)


def main() -> None:
    recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    loop.fuse(recipe, folder / "right")
    loop.total = own_total
    loop.fuse(recipe, folder / "means of each process")
    loop.total, loop.forward = total, unwrapped_forward
    loop.fuse(recipe, folder / "unwrapped model")


if __name__ == "__main__":
    main()
