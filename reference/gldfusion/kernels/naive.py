"""The reference: all logits at once, in plain torch. Any faster version must agree with it, gradients included."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from gldfusion.errors import InputError


class TopKCrossEntropy(NamedTuple):
    """What the losses need of N positions. Floating fields carry gradient, in float32 (float64 for float64 input)."""

    nll: Tensor
    """[N] negative log-likelihood of the label in nats; 0 where ignored"""
    values: Tensor
    """[N, k] the k largest logits, descending"""
    ids: Tensor
    """[N, k] their vocabulary ids"""
    lse: Tensor
    """[N] log-sum-exp over the vocabulary"""
    mean: Tensor
    """[N] mean logit over the vocabulary"""
    var: Tensor
    """[N] population variance of the logits over the vocabulary"""

    @property
    def std(self) -> Tensor:
        """[N] population standard deviation, at least 1e-6: a root's gradient at 0 (zero rows) is not finite."""
        return self.var.clamp_min(1e-12).sqrt()


def topk_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    k: int,
    *,
    ignore_index: int = -100,
    bias: Tensor | None = None,
) -> TopKCrossEntropy:
    """Label loss, top-k logits and vocabulary statistics of logits = hidden weight^T + bias.

    Nothing is shifted here: row i of `hidden` is the state that predicts `labels[i]`. Half-precision inputs are
    multiplied and accumulated in float32, under autocast too.

    Args:
        hidden: [N, H] final hidden states.
        weight: [V, H] output embedding.
        labels: [N] vocabulary ids, or `ignore_index`.
        k: logits to keep per position, 1 <= k <= V.
        bias: [V] or None.

    Raises:
        InputError: k is outside 1..V.
    """
    vocabulary = weight.shape[0]
    if not 1 <= k <= vocabulary:
        raise InputError(f"k must be between 1 and the vocabulary size {vocabulary}, got {k}\nlower k")
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        logits = linear(hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))
        nll = cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none")
    values, ids = logits.topk(k, dim=-1)
    mean = logits.mean(-1)
    variance = (logits - mean[:, None]).square().mean(-1)
    return TopKCrossEntropy(nll, values, ids, logits.logsumexp(-1), mean, variance)
