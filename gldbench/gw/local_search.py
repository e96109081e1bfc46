"""2-opt on permutations: makes the best swap of two nodes until no swap helps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gldbench.gw.problem import Array


def two_opt(c: Array, d: Array, columns: NDArray[np.int64], sweeps: int = 10_000) -> NDArray[np.int64]:
    """Improves a permutation until no swap of two nodes lowers sum (C_ik - D_c(i)c(k))^2.

    Every sweep computes the gain of all n (n - 1) / 2 swaps with one matrix product, and makes the best swap.

    Args:
        c: [n, n], symmetric.
        d: [n, n], symmetric.
        columns: the permutation [n] to start from. It is not changed.
        sweeps: most swaps.
    """
    columns = columns.copy()
    scale = np.abs(c).max() * np.abs(d).max()
    for _ in range(sweeps):
        e = d[np.ix_(columns, columns)]
        gain = swap_gains(c, e)
        r, s = np.unravel_index(gain.argmax(), gain.shape)
        if gain[r, s] <= 1e-12 * scale:
            return columns
        columns[[r, s]] = columns[[s, r]]
    return columns


def swap_gains(c: Array, e: Array) -> Array:
    """By how much the swap of nodes r and s increases sum C_ik E_ik: [n, n]."""
    products = c @ e
    own, c_own, e_own = products.diagonal(), c.diagonal(), e.diagonal()
    rows = products + products.T - own[:, None] - own  # sum over all k of (C_rk - C_sk)(E_sk - E_rk)
    at_r = (c_own[:, None] - c) * (e - e_own[:, None])
    both = (c_own[:, None] - c_own) * (e_own - e_own[:, None])
    return 2 * (rows - at_r - at_r.T) + both
