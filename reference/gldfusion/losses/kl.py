"""Kullback-Leibler divergence to a source that has the pivot's vocabulary: the positive control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gldfusion.losses.buckets import paired_buckets
from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, required, valid_pairs


@dataclass(frozen=True)
class Kl:
    """Kullback-Leibler divergence to a source that has the pivot's vocabulary: the positive control.

    The loss is the sum over paired positions of KL(source || pivot), in nats. One unit is a paired position.

    The source must have the *same tokenizer* as the pivot; position i is paired with position i. Both distributions are
    reduced to the source's k kept ids and one bucket for all other ids. If k is smaller than the vocabulary, the value
    is a lower bound of the full KL (data processing inequality). If the source keeps its whole vocabulary, they are
    equal.

    The loss needs the pivot's probabilities at ids that the *source* kept (`PivotSignal.logprobs_at`). They are
    computed at these ids only, which costs little beside the rest of a step.

    Attributes:
        temperature: tau > 0. Both distributions over the k + 1 buckets become p^(1/tau) / sum p^(1/tau), because the
            source's tail at temperature tau is not known. There is no factor tau^2.
    """

    temperature: float = 1.0

    citation: ClassVar[str] = "Hinton et al. 2015 (arXiv 1503.02531), on the source's top-k and a tail bucket"
    formula: ClassVar[str] = "sum_(t,s) sum_b p^s_b (log p^s_b - log p_b), b over the source's kept ids and one tail"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`."""
        return frozenset({"ids", "lse", "logits"})

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum over the paired positions; see `Loss.__call__`."""
        source, pairs = required(source, "kl", "a source"), required(pairs, "kl", "pairs")
        ours, theirs, valid = paired_buckets(pivot, source, pairs, self.temperature)
        return torch.where(valid, (theirs.exp() * (theirs - ours)).sum(-1), 0).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of pairs that join two unmasked positions; see `Loss.count`."""
        source_mask, pairs = required(source_mask, "kl", "a source mask"), required(pairs, "kl", "pairs")
        return int(valid_pairs(pivot_mask, source_mask, pairs).sum())
