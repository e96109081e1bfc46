"""Universal logit distillation: compares probabilities rank by rank, so the two vocabularies may differ."""

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
    """Universal logit distillation (ULD): compares the sorted probabilities of pivot and source, rank by rank.

    The loss is the sum over paired positions of sum_i |softmax(z / tau)_(i) - softmax(z^s / tau)_(i)|. One unit is a
    paired position.

    The softmax runs over the kept logits, so *top-k* ULD compares renormalised top-k probabilities. The original *full*
    ULD is the same loss on signals that keep the whole vocabulary of each model. The narrower of the two is then padded
    with probability 0.

    The loss does not see which token has which rank: a source with permuted ids gives the same value. There is no
    factor tau^2; only the recipe's weight scales the loss.

    Attributes:
        temperature: tau > 0, by which the logits are divided. A larger tau flattens both distributions.
        standardize: Whether z is replaced by (z - mean) / (std + 1e-6) before the division by tau.
            "none": it is not.
            "topk": it is, with the mean and population standard deviation of the kept k logits.
            "vocabulary": it is, with those of all logits of the vocabulary.
        k: Compare the k largest logits only. None compares all kept logits.
    """

    temperature: float = 1.0
    standardize: Literal["none", "topk", "vocabulary"] = "none"
    k: int | None = None

    citation: ClassVar[str] = "ULD (arXiv 2402.12030); top-k and standardisation: InfiFusion (arXiv 2501.02795)"
    formula: ClassVar[str] = "sum_(t,s) sum_i |softmax(z_t/tau)_(i) - softmax(z^s_s/tau)_(i)|"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`."""
        return frozenset({"moments"} if self.standardize == "vocabulary" else ())

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum over the paired positions; see `Loss.__call__`."""
        source, pairs = required(source, "uld", "a source"), required(pairs, "uld", "pairs")
        pivot, source, valid = at_pairs(pivot.narrow(self.k), source.narrow(self.k), pairs)
        ours, theirs = self._probabilities(pivot), self._probabilities(source)
        width = max(ours.shape[-1], theirs.shape[-1])
        ours, theirs = (pad(probability, (0, width - probability.shape[-1])) for probability in (ours, theirs))
        return torch.where(valid, (ours - theirs).abs().sum(-1), 0).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of pairs that join two unmasked positions; see `Loss.count`."""
        source_mask, pairs = required(source_mask, "uld", "a source mask"), required(pairs, "uld", "pairs")
        return int(valid_pairs(pivot_mask, source_mask, pairs).sum())

    def _probabilities(self, signal: Signal) -> Tensor:
        """The probabilities [B, P, k]. They need no sort: `signal.values` is in descending order."""
        z = signal.values
        if self.standardize == "topk":
            z = z - z.mean(-1, keepdim=True)
            std = torch.linalg.vector_norm(z, dim=-1, keepdim=True) / z.shape[-1] ** 0.5  # gradient at 0: 0, not NaN
            z = z / (std + EPS)
        elif self.standardize == "vocabulary":
            z = (z - signal.need("mean")[..., None]) / (signal.need("std")[..., None] + EPS)
        return torch.softmax(z / self.temperature, -1)
