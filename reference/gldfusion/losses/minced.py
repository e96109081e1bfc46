"""Cross-entropy to the best of several sources, or to their average, in the pivot's vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gldfusion.losses.buckets import carried, kl_with_rest, rest_of
from gldfusion.losses.chunks import one_to_one
from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, at_pairs, required
from gldfusion.vocab import Strategy


@dataclass(frozen=True)
class Minced:
    """Cross-entropy to the best of several sources (MinCE) or to their average (AvgCE), as in FuseLLM.

    The loss is the sum over labelled positions of CE(P, Q) minus the entropy of the sources, in nats. One unit is a
    labelled position.

    Q is the pivot's distribution, P is that of the sources. In each sequence, P belongs to the source that predicts the
    labels best (MinCE), or it is a mean over the sources (AvgCE). At a paired position, each kept probability of a
    source is moved to the pivot's token that `map` gives for it. Probabilities that meet at one token are added, and
    one bucket holds the rest. At an unpaired position, P is the label itself, that is the *next* token.

    The subtracted entropy has no gradient; it makes the loss 0 for an identical source. CE is linear in P, so each
    source's term is computed alone and multiplied by the source's share of the sequence. As for `kl`, the pivot's
    probabilities are computed only at the ids that the source's kept tokens are mapped to.

    FuseLLM's total loss is lambda CE(label) + (1 - lambda) CE(P, Q) with lambda = 0.9. In a recipe that is
    `lambda: 0.1`, one minced term of weight 0.1, and weight 1 for every source. There are three differences. FuseLLM
    also counts the untrained pivot among the sources; add its checkpoint as a source to do the same. It renormalises
    the kept k where we use a bucket. And it keeps the larger of two probabilities that meet where we add them.

    Attributes:
        select: How the sources share a sequence.
            "min": the source that predicts its labels best has all of it (MinCE).
            "average": the shares are the softmax over the sources of exp(-CE), as in FuseLLM's code (AvgCE).
        map: How source tokens are mapped to the pivot's.
            "exact": to the token with the same bytes; other source tokens have no match.
            "mined": to the token with the same bytes, or else to the one with the least edit distance in bytes (MinED).
            "fusellm": as FuseLLM's code does it: by the strings of the two vocabularies, or else by their edit distance
            in lower case.
        positions: Which pairs of positions count as paired.
            "one_to_one": those whose labels start and end at the same byte, as in FuseLLM's code.
            "start": those whose labels start at the same byte. Where the source writes a space and a word as two tokens
            and the pivot as one, the pivot then learns to write the space alone.
    """

    select: Literal["min", "average"] = "min"
    map: Strategy = "mined"
    positions: Literal["start", "one_to_one"] = "one_to_one"

    citation: ClassVar[str] = "FuseLLM, Wan et al. 2024 (arXiv 2401.10491); the fallback as in FuseChat"
    formula: ClassVar[str] = "sum_b sum_s share_sb (sum_(t paired) KL(p^s_t || p_t) - sum_(t not) log p_t(label_t))"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`."""
        return frozenset({"ids", "lse", "logits", "mapped", "labels"})

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum for a single source, whose share of every sequence is 1."""
        return self.weighed(pivot, source, pairs, torch.ones(len(pivot.mask), device=pivot.mask.device))

    def weighed(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None, share: Tensor) -> Tensor:
        """The sum, with each sequence multiplied by the source's share [B] of it; see `Choosing.weighed`."""
        source, pairs = required(source, "minced", "a source"), required(pairs, "minced", "pairs")
        share = share.to(pivot.nll.dtype)[:, None]
        ours, theirs, valid = self._at_pairs(pivot, source, pairs)
        divergence = kl_with_rest(ours, *carried(theirs, ours.vocabulary))
        alone = pivot.mask & ~_paired(pivot.mask, pairs, valid)
        return (share * (torch.where(valid, divergence, 0))).sum() + (share * torch.where(alone, pivot.nll, 0)).sum()

    def _at_pairs(self, pivot: PivotSignal, source: Signal, pairs: Tensor) -> tuple[PivotSignal, Signal, Tensor]:
        ours, theirs, valid = at_pairs(pivot, source, pairs)
        if self.positions == "one_to_one":
            valid = valid & one_to_one(pivot.mask, source.mask, pairs)
        return ours, theirs, valid

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of labelled positions. At each of them the shares of all sources sum to 1."""
        return int(pivot_mask.sum())

    @torch.no_grad()
    def scores(self, pivot: PivotSignal, source: Signal, pairs: Tensor) -> Tensor:
        """The mean of -log P(pivot's label) over the paired positions of each sequence: [B].

        It is infinite for a sequence without a paired position. The probability outside the kept tokens is divided
        evenly among all other tokens, so a label that the source did not keep has an equal part of it. Entries of the
        output layer that pad the vocabulary are no tokens.
        """
        ours, theirs, valid = self._at_pairs(pivot, source, pairs)
        ids, told, kept = carried(theirs, ours.vocabulary)
        tokens = ours.vocabulary if ours.tokens is None else ours.tokens
        even = rest_of(told.sum(-1)) / (tokens - kept.sum(-1)).clamp_min(1)
        is_label = kept & (ids == ours.need("labels")[..., None])
        chance = torch.where(is_label.any(-1), torch.where(is_label, told, 0).sum(-1), even)
        surprise = -chance.clamp_min(torch.finfo(chance.dtype).tiny).log()
        sums = torch.where(valid, surprise, 0).sum(-1)
        return torch.where(valid.any(-1), sums / valid.sum(-1).clamp_min(1), torch.inf)

    def shares(self, scores: Tensor) -> Tensor:
        """The sources' shares [S, B] from their scores [S, B]; they sum to 1. Of equal scores the first is the best."""
        if self.select == "average":
            return torch.softmax((-scores).exp(), 0)
        return torch.zeros_like(scores).scatter_(0, scores.argmin(0, keepdim=True), 1)


def _paired(mask: Tensor, pairs: Tensor, valid: Tensor) -> Tensor:
    """Which positions of the pivot have a valid pair: [B, T] bool."""
    times = torch.zeros_like(mask, dtype=torch.long).scatter_add(1, pairs[..., 0].clamp_min(0), valid.long())
    return times > 0
