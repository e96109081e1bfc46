"""The arguments of the two passes over tiles of logits."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor


class Inputs(NamedTuple):
    """The tensors that a pass reads, already checked."""

    hidden: Tensor
    """[N, H] final hidden states"""
    weight: Tensor
    """[V or more, H] output embedding"""
    bias: Tensor | None
    """[V or more]"""
    labels: Tensor
    """[N] vocabulary ids"""
    factors: torch.dtype | None = None
    """the dtype to which both factors of a product are rounded, for the tensor cores of a GPU. None: they are not"""

    @property
    def compute(self) -> torch.dtype:
        """The dtype of both factors of every matrix product."""
        return self.factors or torch.promote_types(self.hidden.dtype, self.weight.dtype)

    @property
    def accumulate(self) -> torch.dtype:
        """The dtype of sums and results: float32, or float64 for float64 inputs."""
        return torch.promote_types(torch.promote_types(self.hidden.dtype, self.weight.dtype), torch.float32)


Use = Literal["any", "sum"]
"""What the caller promises of the incoming gradients. "sum": only `nll` and `values` have one, and that of `nll` is one
number at all labelled positions, as for a sum or a mean of the label loss. "any": nothing is promised"""


class RowGradients(NamedTuple):
    """What the gradient dz of n rows needs besides their logits.

    A field is None if no gradient came for it. Fields without a shape are [n].
    """

    soft: Tensor | None
    """g_nll + g_lse, the factor of p; 1 after `folded`"""
    lse: Tensor
    spread: Tensor | None
    """2 g_var / V, the factor of (z - mean)"""
    mean: Tensor
    shift: Tensor | None
    """g_mean / V, which is added"""
    columns: Tensor
    """[n, m] the vocabulary ids at which `amounts` are added: the label and the top-k ids"""
    amounts: Tensor
    """[n, m] what is added there"""

    def folded(self) -> tuple[Self, Tensor]:
        """Puts the size of `soft` into `lse`, because |g| p = exp(z - lse + log |g|) saves a product with every tile.

        Returns:
            The same with `soft` 1 and with the other factors multiplied by the signs of `soft`; and these signs [n], by
            which each row of du has still to be multiplied.
        """
        if self.soft is None:
            return self, torch.ones_like(self.lse)
        signs = torch.where(self.soft < 0, -1, 1).to(self.lse)
        return self._replace(
            soft=torch.ones_like(self.lse),
            lse=self.lse - self.soft.abs().log(),
            spread=None if self.spread is None else self.spread * signs,
            shift=None if self.shift is None else self.shift * signs,
            amounts=self.amounts * signs[:, None],
        ), signs

    def rows(self, part: slice) -> Self:
        """Returns the same for a part of the rows."""
        return self._replace(**{name: None if t is None else t[part] for name, t in self._asdict().items()})
