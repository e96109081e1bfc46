"""Couplings of two node sets: their marginals, their cost, and the rounding that makes a plan feasible.

A coupling is a list of pieces (node, node, mass) or a dense plan [n, m]. Its cost is an upper bound of GW_2^2 only if
its marginals are the weights. `upper_bound` therefore checks the marginals first: `ot.emd_1d` has returned a wrong plan
for integer positions.
"""

from __future__ import annotations

import numpy as np
import torch

from gldbench.gw.problem import Array, Problem
from gldfusion.gw import Pieces, coupling_cost

FEASIBLE = 1e-12
"""largest allowed difference between the marginals of a plan and the weights"""

Coupling = Pieces | Array


class InfeasibleError(ValueError):
    """The marginals of a plan are not the weights, so its cost is not an upper bound."""


def permutation(columns: Array | np.ndarray) -> Pieces:
    """The coupling that matches node i with node columns[i], each with mass 1 / n."""
    n = len(columns)
    mass = torch.full((n,), 1 / n, dtype=torch.float64)
    return Pieces(torch.arange(n), torch.from_numpy(np.asarray(columns, dtype=np.int64)), mass)


def as_plan(problem: Problem, coupling: Coupling) -> Array:
    """The coupling as a dense plan [n, m]."""
    if not isinstance(coupling, Pieces):
        return coupling
    plan = np.zeros((problem.n, problem.m))
    np.add.at(plan, (coupling.i.numpy(), coupling.j.numpy()), coupling.mass.numpy())
    return plan


def marginal_error(problem: Problem, coupling: Coupling) -> float:
    """The largest absolute difference between a marginal and its weight; infinity for a negative or non-finite mass."""
    _, _, p, q = problem.arrays
    if isinstance(coupling, Pieces):
        i, j, mass = (t.numpy() for t in coupling)
        rows, columns = np.bincount(i, mass, problem.n), np.bincount(j, mass, problem.m)
    else:
        mass, rows, columns = coupling, coupling.sum(1), coupling.sum(0)
    if not np.isfinite(mass).all() or mass.min() < 0:
        return np.inf
    return float(max(np.abs(rows - p).max(), np.abs(columns - q).max()))


def cost(problem: Problem, coupling: Coupling) -> float:
    """sum (C_ik - D_jl)^2 pi_ij pi_kl, for any marginals. It takes O(pieces^2), or O(n^2 m + n m^2) for a dense plan.

    For a dense plan the same number is subtracted from C and D. The differences stay the same, and rounding errors
    become smaller.
    """
    c, d, _, _ = problem.arrays
    if not isinstance(coupling, Pieces):
        i, j = np.nonzero(coupling)
        if len(i) > 4 * (problem.n + problem.m):
            middle = (c.mean() + d.mean()) / 2
            c, d = c - middle, d - middle
            rows, columns = coupling.sum(1), coupling.sum(0)
            squares = rows @ c**2 @ rows + columns @ d**2 @ columns
            return max(0.0, float(squares - 2 * np.sum((c @ coupling @ d) * coupling)))
        coupling = Pieces(torch.from_numpy(i), torch.from_numpy(j), torch.from_numpy(coupling[i, j]))
    return float(coupling_cost(torch.from_numpy(c), torch.from_numpy(d), coupling))


def upper_bound(problem: Problem, coupling: Coupling) -> float:
    """The cost of a coupling, after a check that its marginals are the weights up to 1e-12.

    Raises:
        InfeasibleError: the marginals are not the weights.
    """
    error = marginal_error(problem, coupling)
    if not error <= FEASIBLE:
        raise InfeasibleError(
            f"marginals are off by {error:.2g}, more than {FEASIBLE:g}: the plan's cost is no upper bound"
        )
    return cost(problem, coupling)


def rounded(problem: Problem, plan: Array) -> Array:
    """Rounds a plan to a feasible one near it (Altschuler, Weed and Rigollet 2017, algorithm 2).

    Rows and columns with too much mass are scaled down. The missing mass is added as a product plan.

    Args:
        problem: the problem; its weights become the marginals.
        plan: [n, m]. Negative, infinite and NaN entries count as 0.
    """
    _, _, p, q = problem.arrays
    plan = np.maximum(np.nan_to_num(plan, nan=0.0, posinf=0.0), 0.0)
    for axis, weights in ((1, p), (0, q)):
        held = plan.sum(axis)
        factor = weights / np.maximum(held, weights)  # min(1, weights / held) without a division by 0
        plan = plan * np.expand_dims(factor, axis)
    missing_rows, missing_columns = np.maximum(p - plan.sum(1), 0), np.maximum(q - plan.sum(0), 0)
    total = missing_rows.sum()
    return plan if total <= 0 else plan + np.outer(missing_rows, missing_columns) / total
