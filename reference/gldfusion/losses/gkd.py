"""Generalised Jensen-Shannon divergence to a source that has the pivot's vocabulary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.losses.buckets import paired_buckets
from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, required, valid_pairs


@dataclass(frozen=True)
class Gkd:
    """Generalised Jensen-Shannon divergence (GKD) to a source that has the pivot's vocabulary.

    The loss is the sum over paired positions of beta KL(T || M) + (1 - beta) KL(S || M), in nats, with the source's
    distribution T, the pivot's distribution S and M = beta T + (1 - beta) S. One unit is a paired position.

    As for `kl`, the source must have the *same tokenizer* as the pivot, both distributions are reduced to the source's
    kept ids and one bucket for all others. For beta -> 0, loss / beta
    tends to KL(T || S). For beta -> 1, loss / (1 - beta) tends to KL(S || T).

    This is GKD's divergence. GKD also trains on texts that the pivot writes itself: the recipe key `train.on_policy`.

    Attributes:
        beta: Weight of the source in M, between 0 and 1. Both ends are excluded, because the loss is 0 there.
        temperature: tau > 0. Both distributions become p^(1/tau) / sum p^(1/tau), as for `kl`. There is no factor
            tau^2.
    """

    beta: float = 0.5
    temperature: float = 1.0

    citation: ClassVar[str] = "GKD, Agarwal et al. 2024 (arXiv 2306.13649), on the source's top-k and a tail bucket"
    formula: ClassVar[str] = "sum_(t,s) beta KL(p^s || m) + (1 - beta) KL(p || m), m = beta p^s + (1 - beta) p"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_options(self)
        if self.beta >= 1:
            raise InputError(f"gkd.beta must be between 0 and 1, both excluded, not {self.beta!r}")

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`."""
        return frozenset({"ids", "lse", "logits"})

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum over the paired positions; see `Loss.__call__`."""
        source, pairs = required(source, "gkd", "a source"), required(pairs, "gkd", "pairs")
        ours, theirs, valid = paired_buckets(pivot, source, pairs, self.temperature)
        middle = torch.logaddexp(theirs + math.log(self.beta), ours + math.log1p(-self.beta))
        to_theirs, to_ours = (theirs.exp() * (theirs - middle)).sum(-1), (ours.exp() * (ours - middle)).sum(-1)
        return torch.where(valid, self.beta * to_theirs + (1 - self.beta) * to_ours, 0).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of pairs that join two unmasked positions; see `Loss.count`."""
        source_mask, pairs = required(source_mask, "gkd", "a source mask"), required(pairs, "gkd", "pairs")
        return int(valid_pairs(pivot_mask, source_mask, pairs).sum())
