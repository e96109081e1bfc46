"""A certified lower bound of a discrete optimal transport problem."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment, linprog

from gldfusion.errors import InputError

Array = NDArray[np.float64]
FEASIBLE = 1e-10
"""the tightest tolerance that HiGHS takes; at its default of 1e-7 the bound loses up to 1e-8"""


def transport_cost(cost: Array, p: Array | None = None, q: Array | None = None) -> float:
    """min over couplings of sum cost_ij pi_ij, from cost [n, m], p [n] and q [m]; None: uniform weights.

    Assignment where n = m with uniform weights; otherwise a linear programme (HiGHS) whose dual is made feasible, so
    that a solver that stops short returns less than the optimum, never more.
    """
    n, m = cost.shape
    if p is None and q is None and n == m:
        rows, columns = linear_sum_assignment(cost)
        return float(cost[rows, columns].sum()) / n
    p = np.full(n, 1 / n) if p is None else p
    q = np.full(m, 1 / m) if q is None else q
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
    u = scale * np.asarray(result.eqlin.marginals)[:n]
    return float(p @ u + q @ (cost - u[:, None]).min(0))
