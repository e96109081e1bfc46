"""Settings of the output layer: how hidden W^T becomes the logits, and which labels count."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

MAX_TRITON_K = 128
"""largest k of the triton kernels: each program keeps the k largest values of its rows in registers"""


@dataclass(frozen=True)
class Options:
    """The logits are z = c tanh(scale u / c), with u = hidden W^T + bias and c = `softcap`."""

    entries: int
    """number of real entries of the vocabulary. Later rows of W are padding: they have no logit and get no gradient"""
    ignore_index: int = -100
    """the label of positions without label loss"""
    scale: float = 1.0
    """factor on u: `logit_scale` of Cohere, 1 / `logits_scaling` of Granite"""
    softcap: float | None = None
    """the cap c: `final_logit_softcapping` of Gemma. None: no cap, z = scale u"""

    def logits(self, product: Tensor) -> Tensor:
        """z from `product` = u, as a new tensor."""
        scaled = product * self.scale if self.scale != 1 else product
        return scaled if self.softcap is None else self.softcap * (scaled / self.softcap).tanh()

    def logits_(self, product: Tensor) -> Tensor:
        """z from `product` = u, in place and without gradient."""
        if self.scale != 1:
            product.mul_(self.scale)
        if self.softcap is not None:
            product.div_(self.softcap).tanh_().mul_(self.softcap)
        return product

    def slope(self, logits: Tensor) -> Tensor | float:
        """dz/du = scale (1 - (z / c)^2), from z. Without a cap it is a number."""
        if self.softcap is None:
            return self.scale
        return (logits / self.softcap).square_().neg_().add_(1).mul_(self.scale)
