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
    """g_nll + g_lse, the factor of p"""
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

    def rows(self, part: slice) -> Self:
        """Returns the same for a part of the rows."""
        return self._replace(**{name: None if t is None else t[part] for name, t in self._asdict().items()})
