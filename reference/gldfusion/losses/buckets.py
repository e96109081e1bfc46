"""Reduces two distributions over one vocabulary to the ids that the source kept and one bucket for all other ids."""

from __future__ import annotations

import torch
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.kernels.largest import on_host
from gldfusion.signals import PivotSignal, Signal, at_pairs


def paired_buckets(
    loss: str, pivot: PivotSignal, source: Signal, pairs: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The bucketed log-probabilities of pivot and source at their pairs.

    Args:
        loss: name of the loss, for error messages.
        pivot: needs what `PivotSignal.logprobs_at` reads.
        source: needs ids and lse.
        pairs: [B, P, 2] of (pivot position, source position), padded with -1.
        temperature: both distributions become p^(1/temperature), renormalised.

    Returns:
        Log-probabilities [B, P, k + 1] of the pivot, and of the source: the k kept ids, then all others together; and
        which pairs are valid, [B, P] bool. The others hold no meaning, but are finite.

    Raises:
        InputError: the source keeps an id that is not in the pivot's vocabulary.
    """
    pivot, source, valid = at_pairs(pivot, source, pairs)
    ids, entries = source.need("ids"), pivot.vocabulary
    if on_host(ids) and ids.numel() and int(ids.max()) >= entries:
        raise InputError(
            f"{loss} needs one vocabulary: the source keeps id {int(ids.max())}, the pivot has {entries} ids\n"
            "use uld or gld for a source with another tokenizer"
        )
    theirs = _buckets(source.values - source.need("lse")[..., None], temperature)
    return _buckets(pivot.logprobs_at(ids), temperature), theirs, valid


def _buckets(logprobs: Tensor, temperature: float) -> Tensor:
    """Log-probabilities [B, P, k + 1] of the kept ids and of all others (at least eps), at the temperature."""
    rest = 1 - logprobs.exp().sum(-1, keepdim=True)
    rest = rest.clamp_min(torch.finfo(logprobs.dtype).eps).log()
    return torch.log_softmax(torch.cat([logprobs, rest], -1) / temperature, -1)
