"""Couplings of two node sets: their marginals, their cost, and how a plan becomes feasible.

A coupling is a list of pieces (node, node, mass) or a dense plan [n, m]. Its cost bounds GW_2^2 from above only if its
marginals are the weights, so `upper_bound` looks first: `ot.emd_1d` on integer positions once returned a wrong plan.
"""

from __future__ import annotations

import numpy as np
import torch

from gldbench.gw.problem import Array, Problem
from gldfusion.gw import Pieces, coupling_cost

FEASIBLE = 1e-12
"""largest difference between a plan's marginals and the weights"""

Coupling = Pieces | Array


class InfeasibleError(ValueError):
    """A plan whose marginals are not the weights: its cost bounds nothing."""


def permutation(columns: Array | np.ndarray) -> Pieces:
    """Node i to node columns[i], each with mass 1 / n."""
    n = len(columns)
    mass = torch.full((n,), 1 / n, dtype=torch.float64)
    return Pieces(torch.arange(n), torch.from_numpy(np.asarray(columns, dtype=np.int64)), mass)


def as_plan(problem: Problem, coupling: Coupling) -> Array:
    """The dense plan [n, m]."""
    if not isinstance(coupling, Pieces):
        return coupling
    plan = np.zeros((problem.n, problem.m))
    np.add.at(plan, (coupling.i.numpy(), coupling.j.numpy()), coupling.mass.numpy())
    return plan


def marginal_error(problem: Problem, coupling: Coupling) -> float:
    """The largest absolute difference of a marginal to its weight; infinity for a negative or undefined mass."""
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
    """sum (C_ik - D_jl)^2 pi_ij pi_kl, whatever the marginals: O(pieces^2), or O(n^2 m + n m^2) for a dense plan.

    Dense: C and D are shifted by one number, which changes no difference and keeps the cancellation small.
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
    """The cost of a coupling whose marginals are right to 1e-12.

    Raises:
        InfeasibleError: they are not.
    """
    error = marginal_error(problem, coupling)
    if not error <= FEASIBLE:
        raise InfeasibleError(
            f"marginals are off by {error:.2g}, more than {FEASIBLE:g}: the plan's cost is no upper bound"
        )
    return cost(problem, coupling)


def rounded(problem: Problem, plan: Array) -> Array:
    """The nearest feasible plan in the sense of Altschuler, Weed and Rigollet (2017), algorithm 2.

    Rows and columns that hold too much are scaled down; what is missing comes back as a product plan.
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
