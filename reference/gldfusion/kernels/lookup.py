"""Logits at chosen ids only: a few products of rows instead of a product with the whole output embedding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gldfusion.kernels.output_layer import Options

BUDGET = 2**24
"""number of gathered weights in memory at once"""
DENSE, DENSE_ON_CPU = 8, 100
"""if more than one id in so many is asked for, all logits are computed. On a CPU, to gather the weights of one id takes
as long as the products with about 100 (measured at widths 96 and 512, with 448 to 4,000 ids)"""


def logits_at(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids: Tensor,
    scale: float = 1.0,
    softcap: float | None = None,
    factors: torch.dtype | None = None,
) -> Tensor:
    """The logits of N rows at m ids each, in float32, or in float64 for float64 inputs. They carry gradient.

    They equal the entries of all logits, but cost N m H operations instead of N V H. Autocast has no effect.

    Args:
        hidden: [N, H] final hidden states.
        weight: [V, H] output embedding.
        bias: [V] or None.
        ids: [N, m] vocabulary ids.
        scale: as in `topk_cross_entropy`.
        softcap: as in `topk_cross_entropy`.
        factors: the dtype to which `topk_cross_entropy` rounded the factors of its products
            (`products.autocast_factors`), so that both belong to one distribution. None: it did not.

    Returns:
        [N, m].
    """
    dtype = torch.promote_types(torch.promote_types(hidden.dtype, weight.dtype), torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        if ids.shape[1] * (DENSE_ON_CPU if hidden.device.type == "cpu" else DENSE) > len(weight):
            product = (_rounded(hidden, factors, dtype) @ _rounded(weight, factors, dtype).T).gather(1, ids)
        else:
            product = _Products.apply(hidden, weight, ids, dtype, factors)
        if bias is not None:
            product = product + bias.to(dtype)[ids]
    return Options(len(weight), scale=scale, softcap=softcap).logits(product)


class _Products(torch.autograd.Function):
    """The products of hidden[n] with weight[ids[n, j]]: [N, m]. The gathered weights are never in memory at once."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, ids: Tensor, dtype: torch.dtype, factors: torch.dtype | None
    ) -> Tensor:
        """The products, in `dtype`."""
        ctx.save_for_backward(hidden, weight, ids)
        ctx.factors = factors
        out = hidden.new_empty(ids.shape, dtype=dtype)
        for part in _parts(ids, hidden.shape[1]):
            gathered = _rounded(weight[ids[part]], factors, dtype)  # [n, m, H]
            torch.bmm(gathered, _rounded(hidden[part], factors, dtype)[:, :, None], out=out[part][:, :, None])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of hidden and weight, in their dtypes."""
        (gradient,) = gradients
        hidden, weight, ids = ctx.saved_tensors
        dtype = gradient.dtype
        dx = torch.zeros_like(hidden, dtype=dtype) if ctx.needs_input_grad[0] else None
        dw = torch.zeros_like(weight, dtype=dtype) if ctx.needs_input_grad[1] else None
        for part in _parts(ids, hidden.shape[1]):
            if dx is not None:
                dx[part] = torch.bmm(gradient[part][:, None], _rounded(weight[ids[part]], ctx.factors, dtype))[:, 0]
            if dw is not None:
                each = gradient[part][:, :, None] * _rounded(hidden[part], ctx.factors, dtype)[:, None]
                dw.index_add_(0, ids[part].flatten(), each.flatten(0, 1))
        return (
            None if dx is None else dx.to(hidden.dtype),
            None if dw is None else dw.to(weight.dtype),
            None,
            None,
            None,
        )


def _rounded(tensor: Tensor, factors: torch.dtype | None, dtype: torch.dtype) -> Tensor:
    return (tensor if factors is None else tensor.to(factors)).to(dtype)


def _parts(ids: Tensor, width: int) -> list[slice]:
    rows = max(1, BUDGET // max(1, ids.shape[1] * width))
    return [slice(first, first + rows) for first in range(0, len(ids), rows)]
