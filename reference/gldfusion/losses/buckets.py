"""Reduces two distributions to the tokens that the source kept and one bucket for all others, and compares them.

Output layers are often wider than the tokenizer, and two models with one tokenizer can be padded to different sizes.
The padding rows stand for no token, so their probability belongs to the bucket.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from gldfusion.signals import PivotSignal, Signal, at_pairs

ABSENT = -1e6
"""log-probability of an id that stands for no token: its probability is 0, and differences with it are numbers"""


def paired_buckets(
    pivot: PivotSignal, source: Signal, pairs: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The bucketed log-probabilities of pivot and source at their pairs.

    Args:
        pivot: needs what `PivotSignal.logprobs_at` reads.
        source: needs ids and lse. Ids that are negative or above the pivot's vocabulary belong to the bucket.
        pairs: [B, P, 2] of (pivot position, source position), padded with -1.
        temperature: both distributions become p^(1/temperature), renormalised.

    Returns:
        Log-probabilities [B, P, k + 1] of the pivot, and of the source: the k kept ids, then all others together; and
        which pairs are valid, [B, P] bool. The others hold no meaning, but are finite.
    """
    pivot, source, valid = at_pairs(pivot, source, pairs)
    ids = source.need("ids")
    known = (ids >= 0) & (ids < pivot.vocabulary)
    ours = pivot.logprobs_at(torch.where(known, ids, 0))
    theirs = source.values - source.need("lse")[..., None]
    ours, theirs = (_buckets(torch.where(known, logprobs, ABSENT), temperature) for logprobs in (ours, theirs))
    return ours, theirs, valid


def _buckets(logprobs: Tensor, temperature: float) -> Tensor:
    """Log-probabilities [B, P, k + 1] of the kept ids and of all others (at least eps), at the temperature."""
    rest = 1 - logprobs.exp().sum(-1, keepdim=True)
    rest = rest.clamp_min(torch.finfo(logprobs.dtype).eps).log()
    return torch.log_softmax(torch.cat([logprobs, rest], -1) / temperature, -1)


def carried(source: Signal, vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    """Moves the kept probabilities [B, P, k] of a source to the pivot's vocabulary. Those that meet are added.

    Returns:
        [B, P, k] each: different ids of the pivot, the probability at each of them, and which entries are in use. The
        others have the id 0 and the probability 0.
    """
    mapped, none = source.need("mapped"), vocabulary
    named = torch.where((mapped >= 0) & (mapped < vocabulary), mapped, none)
    ordered, order = named.sort(-1)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    place = new.cumsum(-1) - 1  # equal ids share a place
    probabilities = (source.values - source.need("lse")[..., None]).exp().gather(-1, order)
    ids = torch.full_like(mapped, none).scatter(-1, place, ordered)
    kept = ids != none
    told = torch.zeros_like(probabilities).scatter_add(-1, place, probabilities)
    return torch.where(kept, ids, 0), torch.where(kept, told, 0), kept


def kl_with_rest(ours: PivotSignal, ids: Tensor, told: Tensor, kept: Tensor) -> Tensor:
    """KL(source || pivot) over the pivot's tokens that the source names and one bucket for all others: [..., P].

    Arguments after the pivot's signal as `carried` returns them.
    """
    logprobs = ours.logprobs_at(ids)
    known = torch.where(kept, torch.xlogy(told, told) - told * logprobs, 0).sum(-1)
    rest, our_rest = rest_of(told.sum(-1)), rest_of(torch.where(kept, logprobs.exp(), 0).sum(-1))
    return known + rest * (rest.log() - our_rest.log())


def kl_shared(ours: PivotSignal, ids: Tensor, told: Tensor, kept: Tensor) -> Tensor:
    """As `kl_with_rest`, without the bucket: both distributions are divided by their sums over these tokens."""
    told = told / told.sum(-1, keepdim=True).clamp_min(torch.finfo(told.dtype).tiny)
    logprobs = torch.where(kept, ours.logprobs_at(ids), ABSENT).log_softmax(-1)
    return torch.where(kept, torch.xlogy(told, told) - told * logprobs, 0).sum(-1)


def unmatched_gap(ours: PivotSignal, theirs: Signal, scales: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """sum_i |p_(i) - q_(i)| over the kept tokens that have no counterpart, sorted by their probability: [..., P].

    Args:
        ours: the pivot's signal, whose `mapped` tells which of its tokens have a counterpart.
        theirs: the source's signal; its tokens without a counterpart in the pivot's vocabulary count.
        scales: factors [..., P] of all probabilities of pivot and source.
    """
    alone = []
    for number, signal in enumerate((ours, theirs)):
        mapped = signal.need("mapped")
        matched = (mapped >= 0) & (mapped < ours.vocabulary)
        left = torch.where(matched, 0, (signal.values - signal.need("lse")[..., None]).exp())
        left = left if scales is None else left * scales[number][..., None]
        alone.append(left.sort(-1, descending=True).values)
    width = max(left.shape[-1] for left in alone)
    p, q = (pad(left, (0, width - left.shape[-1])) for left in alone)
    return (p - q).abs().sum(-1)


def rest_of(kept: Tensor) -> Tensor:
    """The probability outside the kept ones, at least eps, from the sum of the kept ones."""
    return (1 - kept).clamp_min(torch.finfo(kept.dtype).eps)
