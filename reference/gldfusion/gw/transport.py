"""The optimum of a discrete optimal transport problem, or a certified lower bound of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment, linprog

from gldfusion.errors import InputError

Array = NDArray[np.float64]
FEASIBLE = 1e-10
"""smallest tolerance that HiGHS accepts. With its default of 1e-7 the bound is up to 1e-8 too low"""


def transport_cost(cost: Array, p: Array | None = None, q: Array | None = None) -> float:
    """min over couplings pi of sum_ij cost_ij pi_ij.

    For n = m with uniform weights this is an assignment problem, and the result is the optimum. Otherwise HiGHS solves
    a linear programme, and the result is the value of its dual solution after that is made feasible. If the solver
    stops early, this is less than the optimum, never more.

    Args:
        cost: [n, m].
        p: weights [n] of the rows. None: uniform.
        q: weights [m] of the columns. None: uniform.

    Raises:
        InputError: the problem was not solved, usually because of NaN or infinity in `cost`.
    """
    n, m = cost.shape
    if p is None and q is None and n == m:
        rows, columns = linear_sum_assignment(cost)
        return float(cost[rows, columns].sum()) / n
    p = np.full(n, 1 / n) if p is None else p
    q = np.full(m, 1 / m) if q is None else q
    u = row_potentials(cost, p, q)
    return float(p @ u + q @ (cost - u[:, None]).min(0))


def row_potentials(cost: Array, p: Array, q: Array) -> Array:
    """The potentials u [n] of the rows in a dual solution that HiGHS finds.

    The dual solution is feasible with v_j = min_i (cost_ij - u_i), whatever the precision of the solver.

    Args:
        cost: [n, m].
        p: weights [n] of the rows.
        q: weights [m] of the columns.

    Raises:
        InputError: the problem was not solved, usually because of NaN or infinity in `cost`.
    """
    n, m = cost.shape
    rows = sparse.kron(sparse.eye(n), np.ones((1, m)))
    columns = sparse.kron(np.ones((1, n)), sparse.eye(m))
    scale = float(np.abs(cost).max()) or 1.0
    result = linprog(
        cost.ravel() / scale,
        A_eq=sparse.vstack([rows, columns]).tocsr(),
        b_eq=np.concatenate([p, q]),
        method="highs",
        options={"primal_feasibility_tolerance": FEASIBLE, "dual_feasibility_tolerance": FEASIBLE},
    )
    if result.status != 0:
        raise InputError(f"the transport problem {n} x {m} was not solved: {result.message}\ncheck for NaN or infinity")
    return scale * np.asarray(result.eqlin.marginals)[:n]
