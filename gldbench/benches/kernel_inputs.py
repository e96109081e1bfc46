"""The inputs of a kernel benchmark."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gldfusion.errors import InputError


@dataclass(frozen=True)
class Size:
    """The size of a problem; its name is the `variant` of every row."""

    positions: int = 4096
    width: int = 1024
    vocabulary: int = 100_352
    k: int = 16
    dtype: str = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.k > self.vocabulary:
            raise InputError(
                f"k must not exceed the vocabulary: expected at most {self.vocabulary}, got {self.k}\n"
                "make --vocabulary larger or k smaller"
            )

    @property
    def name(self) -> str:
        """All sizes, the dtype and the device."""
        return f"N={self.positions} H={self.width} V={self.vocabulary} k={self.k} {self.dtype} {self.device}"

    @property
    def gradient_bytes(self) -> int:
        """Bytes of the gradients of hidden states and weight."""
        return (self.positions + self.vocabulary) * self.width * getattr(torch, self.dtype).itemsize

    def flops(self, products: int) -> int:
        """Floating-point operations of so many products of the size of hidden states times weight.

        Cross-entropy with its gradients takes 3 products, or 4 if every tile of logits is computed twice.
        """
        return 2 * products * self.positions * self.width * self.vocabulary


@dataclass(frozen=True)
class Problem:
    """The tensors of a `Size`, the same in every process."""

    hidden: Tensor
    """[N, H], requires a gradient"""
    weight: Tensor
    """[V, H], requires a gradient; the logits have standard deviation 3, about that of trained models"""
    labels: Tensor
    """[N]"""
    pull: Tensor
    """[N, k] gradient of the kept logits; like the gradients of ULD and GLD it has no zeros"""
    k: int

    @classmethod
    def make(cls, size: Size) -> Problem:
        """Draws the tensors from seed 0."""
        random = torch.Generator(size.device).manual_seed(0)
        dtype = getattr(torch, size.dtype)

        def normal(*shape: int, scale: float) -> Tensor:
            """Draws in place, without a second copy, which would count in the measured memory."""
            return torch.empty(*shape, dtype=dtype, device=size.device).normal_(0, scale, generator=random)

        n, h, v = size.positions, size.width, size.vocabulary
        hidden = normal(n, h, scale=1.0).requires_grad_()
        weight = normal(v, h, scale=3 / h**0.5).requires_grad_()
        labels = torch.randint(v, (n,), generator=random, device=size.device)
        pull = normal(n, size.k, scale=1 / n).float()
        return cls(hidden, weight, labels, pull, size.k)
