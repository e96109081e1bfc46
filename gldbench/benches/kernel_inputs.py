"""The inputs of a kernel benchmark."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Size:
    """What is computed; its name stands in the `variant` of every row."""

    positions: int = 4096
    width: int = 1024
    vocabulary: int = 100_352
    k: int = 16
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def name(self) -> str:
        return f"N={self.positions} H={self.width} V={self.vocabulary} k={self.k} {self.dtype} {self.device}"

    @property
    def gradient_bytes(self) -> int:
        """Bytes of the gradients of hidden and weight."""
        return (self.positions + self.vocabulary) * self.width * getattr(torch, self.dtype).itemsize

    def flops(self, products: int) -> int:
        """Of so many products of hidden and weight: 3 in plain cross-entropy, 4 where tiles are computed twice."""
        return 2 * products * self.positions * self.width * self.vocabulary


@dataclass(frozen=True)
class Problem:
    """Tensors of a `Size`, the same in every process."""

    hidden: Tensor
    """[N, H], with gradient"""
    weight: Tensor
    """[V, H], with gradient; logits have standard deviation 3, as those of trained models about have"""
    labels: Tensor
    """[N]"""
    pull: Tensor
    """[N, k] any gradient for the kept logits: what ULD and GLD send back is dense in them too"""
    k: int

    @classmethod
    def make(cls, size: Size) -> Problem:
        """Draws the tensors from seed 0."""
        random = torch.Generator(size.device).manual_seed(0)
        dtype = getattr(torch, size.dtype)

        def normal(*shape: int, scale: float) -> Tensor:
            """In place: no second copy that would still lie in the allocator when memory is measured."""
            return torch.empty(*shape, dtype=dtype, device=size.device).normal_(0, scale, generator=random)

        n, h, v = size.positions, size.width, size.vocabulary
        hidden = normal(n, h, scale=1.0).requires_grad_()
        weight = normal(v, h, scale=3 / h**0.5).requires_grad_()
        labels = torch.randint(v, (n,), generator=random, device=size.device)
        pull = normal(n, size.k, scale=1 / n).float()
        return cls(hidden, weight, labels, pull, size.k)
