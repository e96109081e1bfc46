"""GOLD: tokens that both vocabularies have are compared by name, the others by rank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.losses.buckets import carried, unmatched_gap
from gldfusion.losses.chunks import Chunks
from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, at_pairs, required
from gldfusion.vocab import Strategy


@dataclass(frozen=True)
class Gold:
    """Hybrid logit distillation (GOLD): Jensen-Shannon divergence on shared tokens, sorted differences on the others.

    The loss is the sum over chunks of w J + (1 - w) L. One unit is a chunk, one of the smallest pieces of the response
    that both tokenisations cut at both ends.

    For each chunk both models have one vector of probabilities, p and q, of the token at one place of the chunk,
    times the probability of the chunk's other labels (chain rule). J sums the generalised Jensen-Shannon divergence
    beta q log(q / m) + (1 - beta) p log(p / m), m = beta q + (1 - beta) p, over the tokens that both vocabularies have.
    L sums |p_(i) - q_(i)| over the other tokens, sorted by their probability.

    GOLD is described by a blog post and by the code of TRL, which has two ways to merge tokens. We follow the code
    (trl 1.16) with its setting `bayesian`, which is the chain rule on outputs that are shifted against the labels. The
    default of the code, `observed`, is no chain rule and reads outputs that are not shifted. Ours is different in
    three more points. The source keeps only k tokens, so J is summed over the shared tokens that it keeps, and L
    over the other tokens among the kept k of each model; no summand of J is negative, so J is at most that of the whole
    vocabulary. Tokens are shared if their bytes are equal, where the code compares their strings. And the token that
    ends the response counts, which the code leaves out.

    Attributes:
        beta: Weight of the source in m, between 0 and 1, both excluded.
        matched_weight: w, the weight of the shared tokens, between 0 and 1, both excluded. By default the code takes
            the share of the source's vocabulary that is shared. To follow it, give this share.
        merge: At which place of a chunk the whole distribution is read.
            "last": at its last label, given the labels before it, as the chain rule says (`bayesian` in the code).
            "first": at its first label. The vector is then multiplied by the probabilities of the later labels, and
            only its entry for the first label itself is a probability of the chunk (`observed` in the code, shifted).
    """

    beta: float = 0.5
    matched_weight: float = 0.5
    merge: Literal["last", "first"] = "last"

    citation: ClassVar[str] = "GOLD, Patiño et al. 2025 (Hugging Face, TRL), on the source's top-k"
    formula: ClassVar[str] = "sum_chunks w sum_shared JSD_beta(q_v, p_v) + (1 - w) sum_others |p_(i) - q_(i)|"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False
    map: ClassVar[Strategy] = "exact"

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("beta", "matched_weight"):
            if getattr(self, name) >= 1:
                raise InputError(f"gold.{name} must be between 0 and 1, both excluded, not {getattr(self, name)!r}")

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`."""
        return frozenset({"ids", "lse", "logits", "mapped", "shared", "nll"})

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum over the chunks; see `Loss.__call__`."""
        source, pairs = required(source, "gold", "a source"), required(pairs, "gold", "pairs")
        chunks = Chunks.of(pivot.mask, source.mask, pairs)
        sides = (pivot, chunks.ours), (source, chunks.theirs)
        places = pairs
        if self.merge == "last":
            places = pairs + torch.stack([chunks.lengths(rows) - 1 for _, rows in sides], -1)
        ours, theirs, _ = at_pairs(pivot, source, torch.where(chunks.complete[..., None], places, -1))
        dtype = pivot.nll.dtype
        totals = [chunks.totals(signal.need("nll").to(dtype), rows) for signal, rows in sides]
        others = [read.need("nll") - total for read, total in zip((ours, theirs), totals, strict=True)]  # log P, [B, P]
        ids, told, kept = carried(theirs, ours.vocabulary)
        p = ours.logprobs_at(ids) + others[0][..., None]
        q = torch.where(kept, told, 1).clamp_min(torch.finfo(dtype).tiny).log() + others[1][..., None]
        matched = torch.where(kept, jensen_shannon(q, p, self.beta), 0).sum(-1)
        gap = unmatched_gap(ours, theirs, (others[0].exp(), others[1].exp()))
        return torch.where(chunks.complete, self.matched_weight * matched + (1 - self.matched_weight) * gap, 0).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of complete chunks; see `Loss.count`."""
        source_mask, pairs = required(source_mask, "gold", "a source mask"), required(pairs, "gold", "pairs")
        return int(Chunks.of(pivot_mask, source_mask, pairs).complete.sum())


def jensen_shannon(q: Tensor, p: Tensor, beta: float) -> Tensor:
    """The summands of the generalised Jensen-Shannon divergence, from log-probabilities of source and pivot."""
    middle = torch.logaddexp(q + math.log(beta), p + math.log1p(-beta))
    return beta * q.exp() * (q - middle) + (1 - beta) * p.exp() * (p - middle)
