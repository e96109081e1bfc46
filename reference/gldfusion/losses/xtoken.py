"""X-Token: the pivot's distribution is projected to the source's vocabulary, or compared on pairs of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gldfusion.losses.buckets import carried, kl_with_rest, rest_of, unmatched_gap
from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, at_pairs, required, valid_pairs


@dataclass(frozen=True)
class Xtoken:
    """Projection KL or hybrid KL (X-Token): a sparse matrix W tells which source tokens a pivot token begins with.

    The loss is the sum over paired positions, in nats. One unit is a paired position.

    Each row of W belongs to a token of the pivot and sums to 1 (`gldfusion.projection`): a source token with the same
    bytes gets all of it. Otherwise the pivot's token is cut into source tokens, and the first of them gets about 0.9.

    We read the paper's abstract and the code of its authors (NeMo-RL), and follow the code. It makes W in the same way,
    and also cuts the source's tokens into pivot tokens, which we do not. Our loss differs from the code in four points.
    It compares two distributions where a chunk of the text begins, because both models then predict from the same text;
    the code averages over the positions of a chunk. It reads the k tokens that the source keeps at each position; the
    code reads the likeliest tokens of the whole batch. All other tokens share one bucket; the code drops them, and in
    its hybrid form a source that equals the pivot then has a gradient. There is no temperature.

    Attributes:
        form: What is compared.
            "pkl": KL(Q || W^T P) over the source's vocabulary, with the source's distribution Q and the pivot's P.
            "hkl": KL(Q || P) over the pairs of tokens that W maps with a weight of at least 0.6, one pivot token for
            each source token, plus sum_i |p_(i) - q_(i)| over the other kept tokens, sorted by their probability.
    """

    form: Literal["pkl", "hkl"] = "pkl"

    citation: ClassVar[str] = "X-Token (arXiv 2605.21699), after the code in NeMo-RL"
    formula: ClassVar[str] = "pkl: sum_(t,s) KL(q || W^T p); hkl: KL on confident pairs + sum_i |p_(i) - q_(i)|"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False
    map: ClassVar[Literal["projection"]] = "projection"

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`."""
        return frozenset({"ids", "lse", "logits"} | ({"projected"} if self.form == "pkl" else {"mapped", "shared"}))

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum over the paired positions; see `Loss.__call__`."""
        source, pairs = required(source, "xtoken", "a source"), required(pairs, "xtoken", "pairs")
        ours, theirs, valid = at_pairs(pivot, source, pairs)
        if self.form == "pkl":
            found = _projected_kl(ours, theirs)
        else:
            found = kl_with_rest(ours, *carried(theirs, ours.vocabulary)) + unmatched_gap(ours, theirs)
        return torch.where(valid, found, 0).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of pairs that join two unmasked positions; see `Loss.count`."""
        source_mask, pairs = required(source_mask, "xtoken", "a source mask"), required(pairs, "xtoken", "pairs")
        return int(valid_pairs(pivot_mask, source_mask, pairs).sum())


def _projected_kl(ours: PivotSignal, theirs: Signal) -> Tensor:
    """KL(Q || W^T P) over the source's kept tokens that W leads to, and one bucket for all others: [B, P]."""
    ids, shares = theirs.need("projected"), theirs.need("shares")
    known = (ids >= 0) & (ids < ours.vocabulary)
    given = torch.where(known, ours.logprobs_at(torch.where(known, ids, 0)).exp() * shares, 0)
    k = theirs.values.shape[-1]
    given, reached = given.unflatten(-1, (k, -1)).sum(-1), known.unflatten(-1, (k, -1)).any(-1)
    told = torch.where(reached, (theirs.values - theirs.need("lse")[..., None]).exp(), 0)
    least = torch.finfo(told.dtype).tiny
    each = torch.where(reached, torch.xlogy(told, told) - told * given.clamp_min(least).log(), 0).sum(-1)
    rest, our_rest = rest_of(told.sum(-1)), rest_of(given.sum(-1))
    return each + rest * (rest.log() - our_rest.log())
