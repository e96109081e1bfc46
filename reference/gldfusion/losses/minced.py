"""Cross-entropy to the best of several sources, or to their average, in the pivot's vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, at_pairs, required, valid_pairs
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
    signal must hold all its logits.

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
    """

    select: Literal["min", "average"] = "min"
    map: Strategy = "mined"

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
        share = share.to(pivot.nll.dtype)
        valid = valid_pairs(pivot.mask, source.mask, pairs)
        row, _ = valid.nonzero(as_tuple=True)
        ours, theirs = at_pairs(pivot, source, pairs)
        told, kept = _carried(theirs, ours.need("logits").shape[-1])
        logprobs = ours.need("logits").log_softmax(-1)
        known = torch.where(kept, torch.xlogy(told, told) - told * logprobs, 0).sum(-1)
        rest, our_rest = _rest(told.sum(-1)), _rest(torch.where(kept, logprobs.exp(), 0).sum(-1))
        divergence = known + rest * (rest.log() - our_rest.log())  # [U]
        alone = pivot.mask & ~_paired(pivot.mask, pairs, valid)
        return (share[row] * divergence).sum() + (share[:, None] * torch.where(alone, pivot.nll, 0)).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of labelled positions. At each of them the shares of all sources sum to 1."""
        return int(pivot_mask.sum())

    @torch.no_grad()
    def scores(self, pivot: PivotSignal, source: Signal, pairs: Tensor) -> Tensor:
        """The mean of -log P(pivot's label) over the paired positions of each sequence: [B].

        It is infinite for a sequence without a paired position. The probability outside the kept tokens is divided
        evenly among all other tokens, so a label that the source did not keep has an equal part of it.
        """
        valid = valid_pairs(pivot.mask, source.mask, pairs)
        row, _ = valid.nonzero(as_tuple=True)
        ours, theirs = at_pairs(pivot, source, pairs)
        told, kept = _carried(theirs, ours.need("logits").shape[-1])
        label = ours.need("labels")[:, None]
        even = _rest(told.sum(-1)) / (~kept).sum(-1).clamp_min(1)
        chance = torch.where(kept.gather(1, label).squeeze(1), told.gather(1, label).squeeze(1), even)
        surprise = -chance.clamp_min(torch.finfo(chance.dtype).tiny).log()
        sums = surprise.new_zeros(len(pivot.mask)).index_add(0, row, surprise)
        return torch.where(valid.any(-1), sums / valid.sum(-1).clamp_min(1), torch.inf)

    def shares(self, scores: Tensor) -> Tensor:
        """The sources' shares [S, B] from their scores [S, B]; they sum to 1. Of equal scores the first is the best."""
        if self.select == "average":
            return torch.softmax((-scores).exp(), 0)
        return one_hot(scores.argmin(0), len(scores)).T.to(scores.dtype)


def _carried(source: Signal, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Moves the kept probabilities [U, k] of a source to the pivot's vocabulary.

    Returns:
        The probabilities [U, V], and [U, V] bool: which of them the source kept.
    """
    mapped = source.need("mapped")
    known = (mapped >= 0) & (mapped < vocabulary)
    at = torch.where(known, mapped, 0)
    probabilities = torch.where(known, (source.values - source.need("lse")[..., None]).exp(), 0)
    told = probabilities.new_zeros(len(at), vocabulary).scatter_add(1, at, probabilities)
    return told, torch.zeros_like(told).scatter_add(1, at, known.to(told.dtype)) > 0


def _rest(kept: Tensor) -> Tensor:
    """The probability outside the kept ones, at least eps, from the sum of the kept ones."""
    return (1 - kept).clamp_min(torch.finfo(kept.dtype).eps)


def _paired(mask: Tensor, pairs: Tensor, valid: Tensor) -> Tensor:
    """Which positions of the pivot have a valid pair: [B, T] bool."""
    row, place = valid.nonzero(as_tuple=True)
    out = torch.zeros_like(mask)
    out[row, pairs[row, place, 0]] = True
    return out
