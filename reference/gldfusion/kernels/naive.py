"""The reference implementation: all logits at once, in plain torch.

The faster implementations must agree with it, gradients included.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from gldfusion.kernels.largest import largest
from gldfusion.kernels.output_layer import Options


class TopKCrossEntropy(NamedTuple):
    """What the losses need of N positions.

    The floating-point fields carry gradient. They are float32, or float64 for float64 inputs.
    """

    nll: Tensor
    """[N] negative log-likelihood of the label, in nats; 0 where the label is `ignore_index`"""
    values: Tensor
    """[N, k] the k largest logits, in descending order"""
    ids: Tensor
    """[N, k] their vocabulary ids. Among equal logits the lower id comes first"""
    lse: Tensor
    """[N] log-sum-exp over the vocabulary"""
    mean: Tensor
    """[N] mean logit over the vocabulary"""
    var: Tensor
    """[N] population variance of the logits over the vocabulary"""

    @property
    def std(self) -> Tensor:
        """[N] population standard deviation, at least 1e-6, because the gradient of a square root is infinite at 0."""
        return self.var.clamp_min(1e-12).sqrt()


def naive(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, k: int, options: Options
) -> TopKCrossEntropy:
    """`gldfusion.kernels.topk_cross_entropy` by its definition, with O(N V) memory. `options`: the output layer."""
    dtype = torch.promote_types(torch.promote_types(hidden.dtype, weight.dtype), torch.float32)
    rows = weight[: options.entries].to(dtype)
    with torch.autocast(hidden.device.type, enabled=False):
        product = linear(hidden.to(dtype), rows, None if bias is None else bias[: options.entries].to(dtype))
        logits = options.logits(product)  # [N, V]
        nll = cross_entropy(logits, labels, ignore_index=options.ignore_index, reduction="none")
    ids = largest(logits.detach(), k)[1]
    mean = logits.mean(-1)
    variance = (logits - mean[:, None]).square().mean(-1)
    return TopKCrossEntropy(
        nll=nll, values=logits.gather(-1, ids), ids=ids, lse=logits.logsumexp(-1), mean=mean, var=variance
    )
