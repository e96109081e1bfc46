"""Distances between the node features f = C p and g = D q: the paper's sorting, and bounds of the same cost.

All are differentiable in f and g, in any floating-point dtype. The order of equal features does not change a value.
The docstring of `gldfusion.gw` gives the equations and their sources.
"""

from __future__ import annotations

from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.gw.line import matched_gap


def ggw_sum(f: Tensor, g: Tensor) -> Tensor:
    """The paper's distance sum_i |f_(i) - g_(i)| over the sorted features.

    Args:
        f: [..., n].
        g: [..., n].

    Returns:
        [...].

    Raises:
        InputError: f and g differ in length. The unnormalised sum is defined for equal numbers of nodes only.
    """
    if f.shape[-1] != g.shape[-1]:
        raise InputError(
            f"ggw_sum is defined for equal numbers of nodes: f has {f.shape[-1]}, g has {g.shape[-1]}\n"
            "use ggw_mean, flb or anova, or keep the same k in both"
        )
    return (f.sort(-1).values - g.sort(-1).values).abs().sum(-1)


def ggw_mean(f: Tensor, g: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """The distance W_1(f, g), which is at most GW_1.

    Args:
        f: [..., n], or [n] if weights are given.
        g: [..., m], or [m] if weights are given.
        p: weights [n] of f. None: uniform.
        q: weights [m] of g. None: uniform.

    Returns:
        [...].
    """
    gap, mass = matched_gap(f, g, p, q)
    return (mass * gap.abs()).sum(-1)


def flb(f: Tensor, g: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """W_2^2(f, g), the first lower bound (FLB) of GW_2^2. Arguments and shapes as for `ggw_mean`."""
    gap, mass = matched_gap(f, g, p, q)
    return (mass * gap.square()).sum(-1)


def anova(f: Tensor, g: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """(c - d)^2 + 2 W_2^2(f - c, g - d), a lower bound of GW_2^2 that is never smaller than `flb`.

    Arguments and shapes as for `ggw_mean`.
    """
    gap, mass = matched_gap(f, g, p, q)
    shift = (mass * gap).sum(-1, keepdim=True)  # c - d, because the marginals of the matching are p and q
    return shift.square().squeeze(-1) + 2 * (mass * (gap - shift).square()).sum(-1)
