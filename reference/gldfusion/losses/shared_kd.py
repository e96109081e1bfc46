"""Distillation on the tokens that two vocabularies share, where both models predict the same piece of the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gldfusion.losses.buckets import carried, kl_shared, kl_with_rest
from gldfusion.losses.chunks import one_to_one
from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, at_pairs, required
from gldfusion.vocab import Strategy


@dataclass(frozen=True)
class SharedKd:
    """KL divergence on the tokens that both vocabularies have, at positions whose labels cover the same bytes.

    The loss is the sum over 1:1 positions of KL(Q || P), in nats. One unit is a 1:1 position.

    This is the simplest distillation across vocabularies. Two positions are 1:1 if their labels begin and end at the
    same bytes, so each is a chunk of one token. A token is shared if the other vocabulary has a token with the same
    bytes; special tokens are shared if they have the same role or name. Q and P are the distributions of source and
    pivot over the shared tokens among the source's kept k.

    Attributes:
        rest: What happens to the probability outside these tokens.
            "bucket": one more entry holds it, for Q and for P. The pivot then also learns how likely the shared tokens
            are together.
            "renormalise": it is dropped, and both distributions are divided by their sums. A position with fewer than
            two shared tokens is then 0.
    """

    rest: Literal["bucket", "renormalise"] = "bucket"

    citation: ClassVar[str] = "distillation (Hinton et al. 2015, arXiv 1503.02531) on the tokens with equal bytes"
    formula: ClassVar[str] = "sum_(t,s 1:1) sum_v q_v (log q_v - log p_v), v over shared tokens and the rest"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False
    map: ClassVar[Strategy] = "exact"

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`."""
        return frozenset({"ids", "lse", "logits", "mapped"})

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum over the 1:1 positions; see `Loss.__call__`."""
        source, pairs = required(source, "shared_kd", "a source"), required(pairs, "shared_kd", "pairs")
        single = one_to_one(pivot.mask, source.mask, pairs)
        ours, theirs, _ = at_pairs(pivot, source, pairs)
        divergence = kl_with_rest if self.rest == "bucket" else kl_shared
        return torch.where(single, divergence(ours, *carried(theirs, ours.vocabulary)), 0).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of 1:1 positions; see `Loss.count`."""
        source_mask, pairs = required(source_mask, "shared_kd", "a source mask"), required(pairs, "shared_kd", "pairs")
        return int(one_to_one(pivot_mask, source_mask, pairs).sum())
