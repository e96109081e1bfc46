"""Universal logit distillation: probabilities compared rank by rank, whatever the two vocabularies are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, at_pairs, required, valid_pairs

EPS = 1e-6


@dataclass(frozen=True)
class Uld:
    """sum over paired positions of sum_i |softmax(z / tau)_(i) - softmax(z^s / tau)_(i)|. Unit: a paired position.

    The softmax runs over the logits that are kept, so *top-k* ULD compares renormalised top-k probabilities. The
    original, *full* ULD is the same loss on signals that keep the whole vocabulary of each model. The narrower of the
    two is padded with probability 0. Which token holds which rank is not seen: a source with permuted ids scores alike.
    There is no factor tau^2; the recipe's weight is the only scale.
    """

    temperature: float = 1.0
    """tau > 0"""
    standardize: Literal["none", "topk", "vocabulary"] = "none"
    """z <- (z - mean) / (std + 1e-6) before tau, with mean and population std over the kept k or over the vocabulary"""
    k: int | None = None
    """compare the first k logits only; None compares all that are kept"""

    citation: ClassVar[str] = "ULD (arXiv 2402.12030); top-k and standardisation: InfiFusion (arXiv 2501.02795)"
    formula: ClassVar[str] = "sum_(t,s) sum_i |softmax(z_t/tau)_(i) - softmax(z^s_s/tau)_(i)|"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs(self) -> frozenset[str]:
        """What the signals must hold besides values and mask."""
        return frozenset({"moments"} if self.standardize == "vocabulary" else ())

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum over the pairs [B, P, 2] of (pivot position, source position), padded with -1; a scalar."""
        source, pairs = required(source, "uld", "a source"), required(pairs, "uld", "pairs")
        pivot, source = at_pairs(pivot.narrow(self.k), source.narrow(self.k), pairs)
        ours, theirs = self._probabilities(pivot), self._probabilities(source)
        width = max(ours.shape[-1], theirs.shape[-1])
        ours, theirs = (pad(probability, (0, width - probability.shape[-1])) for probability in (ours, theirs))
        return (ours - theirs).abs().sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """How many pairs join two unmasked positions."""
        source_mask, pairs = required(source_mask, "uld", "a source mask"), required(pairs, "uld", "pairs")
        return int(valid_pairs(pivot_mask, source_mask, pairs).sum())

    def _probabilities(self, signal: Signal) -> Tensor:
        """[U, k], descending because `signal.values` is: nothing is sorted again."""
        z = signal.values
        if self.standardize == "topk":
            z = z - z.mean(-1, keepdim=True)
            std = torch.linalg.vector_norm(z, dim=-1, keepdim=True) / z.shape[-1] ** 0.5  # gradient 0, not NaN, at 0
            z = z / (std + EPS)
        elif self.standardize == "vocabulary":
            z = (z - signal.need("mean")[..., None]) / (signal.need("std")[..., None] + EPS)
        return torch.softmax(z / self.temperature, -1)
