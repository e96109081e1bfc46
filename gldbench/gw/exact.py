"""The cases in which GW_2^2 is known exactly, and the argument for each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gldbench.gw.branch_and_bound import branch_and_bound
from gldbench.gw.certified import off_constant_spectrum
from gldbench.gw.couplings import Coupling, lower_cost, permutation
from gldbench.gw.problem import Graph, NotApplicableError, Problem
from gldbench.gw.rounding import SAFE, entry_error, lowered
from gldfusion import gw
from gldfusion.gw.graphs import sorted_order

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

    Both conditions are checked in float64. `lower` therefore belongs to graphs C' and D' that satisfy them exactly and
    are nearest by: GW(C, D) >= GW(C', D') - e, and the cost of the best coupling of C' and D' is at least its cost for
    C and D minus e, so sqrt(cost) - 2 e is a lower bound, with e = |C - C'| + |D - D'|.

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
    far = monotone_error(problem)
    if far is not None:
        coupling = gw.sorted_coupling(c, d, p, q)
        return Exact(
            value=float(gw.exact(c, d, p, q)),
            coupling=coupling,
            lower=lower_cost(problem, coupling, 2 * far),
            nodes=0,
            method="rank-monotone graphs: the sorted coupling is optimal",
        )
    if problem.n != problem.m or not problem.uniform:
        raise NotApplicableError("not rank-monotone, and branch and bound needs equal sizes and uniform weights")
    if problem.n > largest:
        raise NotApplicableError(f"not rank-monotone, and branch and bound is for at most {largest} nodes")
    far = definite_error(problem)
    if far is None:
        raise NotApplicableError("indefinite graphs: no permutation is certified to attain the minimum")
    first, second = ((graph + graph.T) / 2 for graph in problem.arrays[:2])  # Z^T Z may differ from this by rounding
    found = branch_and_bound(first, second, seconds)
    return Exact(
        value=found.value if found.proved else None,
        coupling=permutation(found.columns),
        lower=lowered(found.lower, 0.0, 0.0, 2 * far + entry_error(problem)),
        nodes=found.nodes,
        method="branch and bound",
        why_null="" if found.proved else f"the budget of {seconds:g} s ended after {found.nodes} nodes",
    )


def monotone_error(problem: Problem) -> float | None:
    """How far the graphs are from rank-monotone ones, at their farthest entries; None if rounding does not explain it.

    For each graph the nearest one is bounded by the graph that holds, at each entry, the largest entry to its right
    and below it. Its rows are non-increasing, and it is symmetric if the graph is.
    """
    far = 0.0
    for graph, weights in zip(problem.matrices, problem.weights, strict=True):
        if not bool(gw.is_rank_monotone(graph, weights)):
            return None
        order = sorted_order(graph, weights).cpu().numpy()
        sorted_graph = graph.cpu().numpy()[np.ix_(order, order)]
        above = np.maximum.accumulate(np.maximum.accumulate(sorted_graph[::-1, ::-1], 0), 1)[::-1, ::-1]
        far += SAFE * float((above - sorted_graph).max())
    return far


def definite_error(problem: Problem) -> float | None:
    """How far the graphs are from two that are both positive, or both negative, semi-definite on vectors of sum 0.

    Adding t times the projection onto these vectors to C raises the eigenvalues there by t. With the smallest one of
    the projected C / n being -t / n, this is a change of sqrt(n - 1) times t / n in the norm of C.

    Returns:
        The sum of both distances, or None if they are larger than rounding explains.
    """
    errors = [_definite(graph) for graph in (problem.a, problem.b)]
    both = [errors[0][sign] + errors[1][sign] for sign in errors[0] if sign in errors[1]]
    return min(both, default=None)


def _definite(graph: Graph) -> dict[str, float]:
    """The signs, "+" or "-", with which a graph is semi-definite on vectors of sum 0, and its distance from that."""
    values, error = off_constant_spectrum(graph, None, 0.0)
    n = graph.nodes
    assert graph.matrix is not None
    tolerance = 1e-14 * float(np.linalg.norm(graph.matrix.cpu().numpy(), 2))
    worst = {"+": -float(values[0]), "-": float(values[-1])}
    return {
        sign: SAFE * math.sqrt(n - 1) * max(0.0, below + error) for sign, below in worst.items() if below <= tolerance
    }
