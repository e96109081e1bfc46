"""Reduces two distributions over one vocabulary to the ids that the source kept and one bucket for all other ids.

Output layers are often wider than the tokenizer, and two models with one tokenizer can be padded to different sizes.
The padding rows stand for no token, so their probability belongs to the bucket.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
