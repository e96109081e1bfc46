"""The cases in which GW_2^2 is known exactly, and the argument for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gldbench.gw.branch_and_bound import branch_and_bound
from gldbench.gw.couplings import Coupling, permutation
from gldbench.gw.problem import Array, NotApplicableError, Problem
from gldfusion import gw

LARGEST_SEARCH = 40
"""nodes; above this number branch and bound does not start, because its bounds alone take minutes"""


@dataclass(frozen=True)
class Exact:
    """The optimum, or what the search found before its budget ended."""

    value: float | None
    """GW_2^2; None if the budget ended first"""
    coupling: Coupling
    """the best one found; the optimal one if `value` is given"""
    lower: float
    """a certified lower bound of GW_2^2"""
    nodes: int
    """of the search tree; 0 for the closed form"""
    method: str
    why_null: str = ""
    """why `value` is None"""


def solve_exact(problem: Problem, seconds: float, largest: int = LARGEST_SEARCH) -> Exact:
    """Computes GW_2^2 by a closed form for rank-monotone graphs, and by branch and bound otherwise.

    Branch and bound searches over permutations. A permutation attains the minimum if n = m, the weights are uniform
    and the objective is concave on couplings. Its only varying term is -2 tr(C pi D pi^T). This term is concave if both
    graphs are positive, or both negative, semi-definite on vectors of sum 0. PSD graphs are positive semi-definite
    there, matrices of Euclidean distances are negative semi-definite there.

    Args:
        problem: the problem, with its graphs.
        seconds: time limit of branch and bound.
        largest: most nodes for branch and bound.

    Raises:
        NotApplicableError: neither method applies. For indefinite graphs a coupling that splits mass may beat every
            permutation.
    """
    c, d = problem.matrices
    p, q = problem.weights
    if bool(gw.is_rank_monotone(c, p)) and bool(gw.is_rank_monotone(d, q)):
        value = float(gw.exact(c, d, p, q))
        return Exact(
            value=value,
            coupling=gw.sorted_coupling(c, d, p, q),
            lower=value,
            nodes=0,
            method="rank-monotone graphs: the sorted coupling is optimal",
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
        value=found.value if found.proved else None,
        coupling=permutation(found.columns),
        lower=found.lower,
        nodes=found.nodes,
        method="branch and bound",
        why_null="" if found.proved else f"the budget of {seconds:g} s ended after {found.nodes} nodes",
    )


def _same_sign(c: Array, d: Array) -> bool:
    """Whether both graphs are positive, or both negative, semi-definite on vectors of sum 0, up to rounding."""
    signs = [_definite(graph) for graph in (c, d)]
    return bool(signs[0] & signs[1])


def _definite(graph: Array) -> set[str]:
    """The signs with which a graph is semi-definite on vectors of sum 0: "+", "-", both or none."""
    n = len(graph)
    centred = graph - graph.mean(0) - graph.mean(1)[:, None] + graph.mean()
    values = np.linalg.eigvalsh(centred)
    tolerance = 1e-14 * n * np.linalg.norm(graph, 2)
    return {sign for sign, worst in (("+", -values[0]), ("-", values[-1])) if worst <= tolerance}
