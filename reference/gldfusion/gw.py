"""Sorted approximations of the Gromov-Wasserstein distance, on the node features f = C p and g = D q.

    GW_2^2(C, D, p, q) = min over couplings pi of sum (C_ik - D_jl)^2 pi_ij pi_kl     (no factor 1/2, no root)

    ggw_sum    sum_i |f_(i) - g_(i)|                the paper's loss: n = m, uniform weights
    ggw_mean   W_1(f, g)                            = ggw_sum / n there; <= GW_1 <= GW_2
    flb        W_2^2(f, g)                          <= GW_2^2
    anova      (c - d)^2 + 2 W_2^2(f - c, g - d)    c = p^T f, d = q^T g; = 2 flb - (c - d)^2; flb <= anova <= GW_2^2

Each is differentiable in f and g, in any floating dtype; tied features are exchangeable and change no value. Lower
bounds hold for symmetric C and D. Sources: InfiGFusion (arXiv 2505.13893); Memoli (2011) for FLB; the ANOVA bound is
the Hoeffding decomposition of C_ik - D_jl under pi x pi.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gldfusion.errors import InputError


def ggw_sum(f: Tensor, g: Tensor) -> Tensor:
    """sum_i |f_(i) - g_(i)| over sorted features: [...] from f and g [..., n].

    Raises:
        InputError: f and g differ in length; the unnormalised sum is defined for equal numbers of nodes only.
    """
    if f.shape[-1] != g.shape[-1]:
        raise InputError(
            f"ggw_sum is defined for equal numbers of nodes: f has {f.shape[-1]}, g has {g.shape[-1]}\n"
            "use ggw_mean, flb or anova, or keep the same k in both"
        )
    return (f.sort(-1).values - g.sort(-1).values).abs().sum(-1)


def ggw_mean(f: Tensor, g: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """W_1(f, g): [...] from f [..., n] and g [..., m] with uniform weights, or a scalar from f, p [n] and g, q [m]."""
    gap, mass = _matched_gap(f, g, p, q)
    return (mass * gap.abs()).sum(-1)


def flb(f: Tensor, g: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """W_2^2(f, g), the first lower bound of GW_2^2: shapes as `ggw_mean`."""
    gap, mass = _matched_gap(f, g, p, q)
    return (mass * gap.square()).sum(-1)


def anova(f: Tensor, g: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """(c - d)^2 + 2 W_2^2(f - c, g - d), a lower bound of GW_2^2 that is never below `flb`: shapes as `ggw_mean`."""
    gap, mass = _matched_gap(f, g, p, q)
    shift = (mass * gap).sum(-1, keepdim=True)  # c - d: the marginals of the matching are p and q
    return shift.square().squeeze(-1) + 2 * (mass * (gap - shift).square()).sum(-1)


def _matched_gap(f: Tensor, g: Tensor, p: Tensor | None, q: Tensor | None) -> tuple[Tensor, Tensor]:
    """The monotone matching of two distributions on the line, in pieces of constant (f value, g value).

    Returns f - g on each piece [..., pieces], and the mass of each piece [pieces].
    """
    f_sorted, f_order = f.sort(-1)
    g_sorted, g_order = g.sort(-1)
    if p is None and q is None:
        i, j, mass = _uniform_pieces(f.shape[-1], g.shape[-1], f)
    else:
        if f.ndim != 1 or g.ndim != 1:
            raise InputError(f"weights go with 1-D features, got f {list(f.shape)} and g {list(g.shape)}")
        i, j, mass = _weighted_pieces(_weights(p, f, "p")[f_order], _weights(q, g, "q")[g_order])
    return f_sorted[..., i] - g_sorted[..., j], mass


def _uniform_pieces(n: int, m: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices into n and into m sorted values and the mass of each piece; cut points are exact, in units of 1/(n m)."""
    steps = torch.arange(1, max(n, m) + 1, device=like.device)
    cuts = torch.cat([steps[:n] * m, steps[:m] * n]).unique()
    mass = cuts.diff(prepend=cuts.new_zeros(1)).to(like.dtype) / (n * m)
    return (cuts - 1) // m, (cuts - 1) // n, mass


def _weighted_pieces(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `_uniform_pieces`, with weights p [n] and q [m]; cuts that rounding parts are a piece of next to no mass."""
    p_end, q_end = p.cumsum(0), q.cumsum(0)
    cuts = torch.cat([p_end, q_end]).sort().values
    mass = cuts.diff(prepend=cuts.new_zeros(1))
    middle = cuts - mass / 2  # away from the cuts, where rounding could pick the neighbour
    i = torch.searchsorted(p_end, middle).clamp_max(len(p) - 1)
    j = torch.searchsorted(q_end, middle).clamp_max(len(q) - 1)
    return i, j, mass


def _weights(weights: Tensor | None, values: Tensor, name: str) -> Tensor:
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
