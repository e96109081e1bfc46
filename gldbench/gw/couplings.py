"""Couplings of two node sets: their marginals, their cost, and the rounding that makes a plan feasible.

A coupling is a list of pieces (node, node, mass) or a dense plan [n, m]. Its cost is an upper bound of GW_2^2 only if
its marginals are the weights. `upper_bound` therefore checks the marginals first: `ot.emd_1d` has returned a wrong plan
for integer positions.
"""

from __future__ import annotations

import numpy as np
import torch

from gldbench.gw.problem import Array, Problem
from gldbench.gw.rounding import SAFE, TINY, UNIT, entry_error, gamma, lowered, raised, spread, weight_error
from gldfusion.gw import Pieces

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
    rows, columns = _marginals(problem, coupling)
    mass = coupling.mass.cpu().numpy() if isinstance(coupling, Pieces) else coupling
    if not np.isfinite(mass).all() or mass.min() < 0:
        return np.inf
    return float(max(np.abs(rows - p).max(), np.abs(columns - q).max()))


def _marginals(problem: Problem, coupling: Coupling) -> tuple[Array, Array]:
    """The row sums [n] and the column sums [m] of a coupling."""
    if not isinstance(coupling, Pieces):
        return coupling.sum(1), coupling.sum(0)
    i, j, mass = pieces_of(coupling)
    sums = (np.bincount(nodes, mass, size) for nodes, size in ((i, problem.n), (j, problem.m)))
    rows, columns = (np.asarray(held, dtype=np.float64) for held in sums)
    return rows, columns


def cost(problem: Problem, coupling: Coupling, power: int = 2) -> float:
    """sum |C_ik - D_jl|^power pi_ij pi_kl, for any marginals. It takes O(pieces^2).

    For a dense plan and power 2 it takes O(n^2 m + n m^2). The same number is then subtracted from C and D: the
    differences stay the same, and rounding errors become smaller.
    """
    return _cost(problem, coupling, power)[0]


def _cost(problem: Problem, coupling: Coupling, power: int) -> tuple[float, float]:
    """The cost, and at least its rounding error.

    With P pieces it is a sum of P sums of P non-negative terms, so its error is relative, gamma(2 P + 8). For a dense
    plan let Q be the sum of (c_ik^2 + d_jl^2) pi_ij pi_kl after the shift. The cross term is at most Q. The four sums
    of products have at most 2 (n + m) terms in a chain, and the shift changes the cost by at most 4 u Q. So the error
    is at most gamma(4 (n + m) + 30) 2 Q.
    """
    c, d, _, _ = problem.arrays
    if isinstance(coupling, Pieces) or power == 1 or np.count_nonzero(coupling) <= 4 * (problem.n + problem.m):
        i, j, mass = pieces_of(coupling)
        gap = np.abs(c[np.ix_(i, i)] - d[np.ix_(j, j)])
        value = float(mass @ (gap if power == 1 else np.square(gap)) @ mass)
        underflow = TINY if value < TINY and gap.any() else 0.0
        return value, gamma(2 * len(mass) + 8) * value + underflow
    middle = (c.mean() + d.mean()) / 2
    c, d = c - middle, d - middle
    rows, columns = coupling.sum(1), coupling.sum(0)
    squares = float(rows @ c**2 @ rows + columns @ d**2 @ columns)
    value = max(0.0, squares - 2 * float(np.sum((c @ coupling @ d) * coupling)))
    return value, gamma(8 * (problem.n + problem.m) + 60) * squares


def pieces_of(coupling: Coupling) -> tuple[np.ndarray, np.ndarray, Array]:
    """The nodes and the masses of a coupling as numpy arrays: i [P], j [P] and mass [P]."""
    if isinstance(coupling, Pieces):
        i, j, mass = (t.cpu().numpy() for t in coupling)
        return i, j, mass
    i, j = np.nonzero(coupling)
    return i, j, coupling[i, j]


def upper_bound(problem: Problem, coupling: Coupling, power: int = 2) -> float:
    """An upper bound of GW_power^power: the cost of a coupling and its errors.

    The marginals must be the weights up to 1e-12. The rest of their error counts. Let e be the sum of all
    differences between the marginals and the true weights. A coupling with the true marginals exists within 2 e
    in the sum of absolute differences (Altschuler, Weed and Rigollet 2017, lemma 7), so its cost is larger by at most
    2 e (2 + 2 e) times the largest |C_ik - D_jl|^power. A permutation with equal masses has no such error: it stands
    for the masses 1 / n, which float64 cannot hold.

    Raises:
        InfeasibleError: the marginals are not the weights.
    """
    error = marginal_error(problem, coupling)
    if not error <= FEASIBLE:
        raise InfeasibleError(
            f"marginals are off by {error:.2g}, more than {FEASIBLE:g}: the plan's cost is no upper bound"
        )
    value, rounding = _cost(problem, coupling, power)
    if not _is_permutation(problem, coupling):
        wrong = 2 * _marginal_sum(problem, coupling)
        rounding += wrong * (2 + wrong) * spread(*problem.matrices) ** power
    metric = entry_error(problem)
    return raised(value, 0.0, rounding, metric) if power == 2 else (value + SAFE * (rounding + metric)) * (1 + 4 * UNIT)


def lower_cost(problem: Problem, coupling: Coupling, metric: float, power: int = 2) -> float:
    """A lower bound of GW_power^power for a coupling that is optimal but for rounding.

    Args:
        problem: the problem.
        coupling: a permutation, or the pieces of the matching of two sorted samples of nodes. With weights, each of its
            P cut points may be wrong by the error of the weights, so masses are wrong by at most P times that.
        metric: how far the root of the cost may be from GW_power of the computed graphs.
        power: 1 or 2.
    """
    value, rounding = _cost(problem, coupling, power)
    weights = sum(weight_error(problem))
    if weights:
        pieces = len(pieces_of(coupling)[2])
        wrong = 2 * pieces * weights + gamma(8 * pieces)
        rounding += wrong * (2 + wrong) * spread(*problem.matrices) ** power
    metric += entry_error(problem)
    if power == 1:
        return max(0.0, value - SAFE * (rounding + metric)) * (1 - 4 * UNIT)
    return lowered(value, 0.0, rounding, metric)


def _is_permutation(problem: Problem, coupling: Coupling) -> bool:
    """Whether a coupling matches each node with one node and all masses are 1 / n as float64."""
    if not isinstance(coupling, Pieces) or not problem.uniform or problem.n != problem.m:
        return False
    i, j, mass = pieces_of(coupling)
    nodes = np.arange(problem.n)
    same = np.array_equal(np.sort(i), nodes) and np.array_equal(np.sort(j), nodes)
    return same and bool((mass == 1 / problem.n).all())


def _marginal_sum(problem: Problem, coupling: Coupling) -> float:
    """At least the sum of |marginal - true weight| over all nodes of both graphs."""
    rows, columns = _marginals(problem, coupling)
    _, _, p, q = problem.arrays
    computed = float(np.abs(rows - p).sum() + np.abs(columns - q).sum())
    terms = problem.n + problem.m if not isinstance(coupling, Pieces) else len(coupling.mass)
    return SAFE * (computed + 2 * gamma(terms + 4) + sum(weight_error(problem)))


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
