"""Optimal transport on the line: matches two sorted, weighted samples, in pieces of constant mass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gldfusion.errors import InputError


class Pieces(NamedTuple):
    """A coupling: piece r joins entry i[r] of one sample with entry j[r] of the other, with mass[r]."""

    i: Tensor
    """[P] entries of the first sample"""
    j: Tensor
    """[P] entries of the second sample"""
    mass: Tensor
    """[P] non-negative, sums to 1"""


def matched_gap(f: Tensor, g: Tensor, p: Tensor | None, q: Tensor | None) -> tuple[Tensor, Tensor]:
    """Matches two samples in sorted order, and returns their differences.

    Args:
        f: [..., n], or [n] if weights are given.
        g: [..., m], or [m] if weights are given.
        p: weights [n] of f. None: uniform.
        q: weights [m] of g. None: uniform.

    Returns:
        f - g on each piece of the matching [..., P], and the mass of each piece [P].

    Raises:
        InputError: f or g is not 1-D although weights are given, or weights are negative or do not sum to 1.
    """
    f_sorted, f_order = f.sort(-1)
    g_sorted, g_order = g.sort(-1)
    if p is None and q is None:
        if f.shape[-1] == g.shape[-1]:  # the i-th value is matched with the i-th: no gather needed
            return f_sorted - g_sorted, f.new_full(f.shape[-1:], 1 / f.shape[-1])
        i, j, mass = uniform_pieces(f.shape[-1], g.shape[-1], f)
    else:
        if f.ndim != 1 or g.ndim != 1:
            raise InputError(f"weights need 1-D features, got f {list(f.shape)} and g {list(g.shape)}")
        i, j, mass = weighted_pieces(weights_of(p, f, "p")[f_order], weights_of(q, g, "q")[g_order])
    return f_sorted[..., i] - g_sorted[..., j], mass


def uniform_pieces(n: int, m: int, like: Tensor) -> Pieces:
    """The pieces for n and m equal weights. The cut points are exact: they are integers, in units of 1 / (n m).

    Args:
        n: size of the first sorted sample.
        m: size of the second sorted sample.
        like: gives the dtype and the device.
    """
    if n == m:
        index = torch.arange(n, device=like.device)
        return Pieces(index, index, like.new_full((n,), 1 / n))
    steps = torch.arange(1, max(n, m) + 1, device=like.device)
    cuts = torch.cat([steps[:n] * m, steps[:m] * n]).unique()
    mass = cuts.diff(prepend=cuts.new_zeros(1)).to(like.dtype) / (n * m)
    return Pieces((cuts - 1) // m, (cuts - 1) // n, mass)


def weighted_pieces(p: Tensor, q: Tensor) -> Pieces:
    """The pieces for weights p [..., n] and q [..., m] of two sorted samples.

    If rounding makes two cut points of one, the piece between them has almost no mass.
    """
    p_end, q_end = p.cumsum(-1), q.cumsum(-1)
    cuts = torch.cat([p_end, q_end], -1).sort(-1).values
    mass = cuts.diff(prepend=torch.zeros_like(cuts[..., :1]))
    middle = cuts - mass / 2  # not at the cuts, where rounding could pick the neighbour
    i = torch.searchsorted(p_end, middle).clamp_max(p.shape[-1] - 1)
    j = torch.searchsorted(q_end, middle).clamp_max(q.shape[-1] - 1)
    return Pieces(i, j, mass)


def weights_of(weights: Tensor | None, values: Tensor, name: str) -> Tensor:
    """Checks weights and converts them to the dtype of `values` [n]. None gives uniform weights.

    Raises:
        InputError: the length is wrong, a weight is negative, or the sum is not 1. The message calls them `name`.
    """
    if weights is None:
        return torch.full_like(values, 1 / len(values), requires_grad=False)
    weights = weights.to(values)
    total = weights.sum().item()
    if weights.shape != values.shape or bool((weights < 0).any()) or abs(total - 1) > 1e-5:
        raise InputError(
            f"{name} must be non-negative, sum to 1 and have one weight per feature {list(values.shape)}; "
            f"got shape {list(weights.shape)}, minimum {weights.min().item():.3g}, sum {total:.6g}"
        )
    return weights
