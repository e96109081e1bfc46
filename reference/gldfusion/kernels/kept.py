"""Logits that the forward pass keeps for the backward pass, and the gradient from them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gldfusion.kernels.arguments import RowGradients
from gldfusion.kernels.output_layer import Options
from gldfusion.kernels.scratch import Scratch


@dataclass
class Kept:
    """The logits of the first positions, for the backward pass. It overwrites them, so they serve once only."""

    logits: Tensor
    """[n, V]"""
    scratch: Scratch
    """where their memory came from"""

    def release(self) -> None:
        """Gives the memory back, after the last use of the logits."""
        self.scratch.give_back(self.logits)

    def keep(self, part: slice, at: slice, z: Tensor) -> None:
        """Stores what a tile has of the first n positions."""
        rows = self.logits[part, at]
        rows.copy_(z[: len(rows)])

    def covers(self, part: slice) -> bool:
        """Whether all positions of a tile are stored."""
        return part.stop <= len(self.logits)


def gradient_of(z: Tensor, first: int, given: RowGradients, options: Options) -> Tensor:
    """du [n, c] from the logits z [n, c] of c entries from `first` on, in place of z. See the equation in `fused`.

    The gradients must be `folded`.
    """
    slope = options.slope(z)
    rest = None if given.spread is None else (z - given.mean[:, None]).mul_(given.spread[:, None])
    out = z.zero_() if given.soft is None else z.sub_(given.lse[:, None]).exp_()
    if rest is not None:
        out.add_(rest)
    if given.shift is not None:
        out.add_(given.shift[:, None])
    at = given.columns - first
    inside = (at >= 0) & (at < z.shape[1])
    out.scatter_add_(1, at.clamp(0, z.shape[1] - 1), given.amounts * inside)
    return out if isinstance(slope, float) and slope == 1 else out.mul_(slope)
