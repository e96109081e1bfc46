"""Matrix products whose sums are wider than their factors."""

from __future__ import annotations

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """a b in `dtype`. On CUDA, tensor cores multiply half-precision factors and add in float32."""
    if a.dtype == b.dtype == dtype:
        return a @ b
    if a.is_cuda and a.dtype == b.dtype:
        return torch.mm(a, b, out_dtype=dtype)
    return a.to(dtype) @ b.to(dtype)


def add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out += a b, in the dtype of `out`. The products are those of `product`."""
    if a.dtype == b.dtype == out.dtype:
        out.addmm_(a, b)
    elif out.is_cuda and a.dtype == b.dtype:
        torch.addmm(out, a, b, out_dtype=out.dtype, out=out)
    else:
        out.addmm_(a.to(out.dtype), b.to(out.dtype))


def for_product(a: Tensor, factors: torch.dtype) -> Tensor:
    """`a` in the dtype of the other factor, where that is faster: on CUDA, for half-precision factors."""
    return a.to(factors) if a.is_cuda else a


def autocast_factors(device: torch.device) -> torch.dtype | None:
    """The dtype to which the factors of products are rounded under autocast on CUDA; None: they are not."""
    autocast = device.type == "cuda" and torch.is_autocast_enabled("cuda")
    return torch.get_autocast_dtype("cuda") if autocast else None
