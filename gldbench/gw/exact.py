"""Where GW_2^2 is known exactly, and by which argument."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gldbench.gw.branch_and_bound import branch_and_bound
from gldbench.gw.couplings import Coupling, permutation
from gldbench.gw.problem import Array, NotApplicableError, Problem
from gldfusion import gw

LARGEST_SEARCH = 40
"""nodes beyond which branch and bound is not begun: its bounds alone take minutes"""


@dataclass(frozen=True)
class Exact:
    """The optimum, or what the budget left of it."""

    value: float | None
    """GW_2^2; None where the budget ended first"""
    coupling: Coupling
    lower: float
    nodes: int
    method: str
    why_null: str = ""


def solve_exact(problem: Problem, seconds: float, largest: int = LARGEST_SEARCH) -> Exact:
    """GW_2^2 in closed form for rank-monotone graphs, else by branch and bound.

    A permutation attains the minimum where n = m, weights are uniform and the objective is concave on couplings:
    -2 tr(C pi D pi^T) is, if both graphs are positive or both negative semi-definite on vectors of sum 0. PSD graphs
    are; so are matrices of Euclidean distances.

    Raises:
        NotApplicableError: neither holds. For indefinite graphs a product of fractions may beat every permutation.
    """
    c, d = problem.matrices
    p, q = problem.weights
    if bool(gw.is_rank_monotone(c, p)) and bool(gw.is_rank_monotone(d, q)):
        value = float(gw.exact(c, d, p, q))
        return Exact(
            value, gw.sorted_coupling(c, d, p, q), value, 0, "rank-monotone graphs: the sorted coupling is optimal"
        )
    if problem.n != problem.m or not problem.uniform:
        raise NotApplicableError("not rank-monotone, and branch and bound needs equal sizes and uniform weights")
    if problem.n > largest:
        raise NotApplicableError(f"not rank-monotone, and branch and bound is for at most {largest} nodes")
    first, second, _, _ = problem.arrays
    if not _same_sign(first, second):
        raise NotApplicableError("indefinite graphs: no permutation is certified to attain the minimum")
    found = branch_and_bound(first, second, seconds)
    return Exact(
        found.value if found.proved else None,
        permutation(found.columns),
        found.lower,
        found.nodes,
        "branch and bound",
        "" if found.proved else f"the budget of {seconds:g} s ended after {found.nodes} nodes",
    )


def _same_sign(c: Array, d: Array) -> bool:
    """Whether both are positive, or both negative, semi-definite on vectors of sum 0 (to rounding)."""
    signs = [_definite(graph) for graph in (c, d)]
    return bool(signs[0] & signs[1])


def _definite(graph: Array) -> set[str]:
    n = len(graph)
    centred = graph - graph.mean(0) - graph.mean(1)[:, None] + graph.mean()
    values = np.linalg.eigvalsh(centred)
    tolerance = 1e-14 * n * np.linalg.norm(graph, 2)
    return {sign for sign, worst in (("+", -values[0]), ("-", values[-1])) if worst <= tolerance}
