"""The optimum: closed form on rank-monotone graphs, branch and bound on small PSD ones."""

from __future__ import annotations

from gldbench.gw.exact import solve_exact
from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.solvers.solver import Answer, Solver

SECONDS = 10.0
LARGEST_SEARCH = 16
"""nodes; beyond, branch and bound takes minutes"""


def run(problem: Problem) -> Answer:
    """The value, and the nodes of the search tree (0 in closed form)."""
    found = solve_exact(problem, SECONDS, LARGEST_SEARCH)
    if found.value is None:
        raise NotApplicableError(found.why_null)
    return Answer(found.value, found.coupling, {"nodes": float(found.nodes)})


SOLVER = Solver(run, "exact", "gldbench.gw.exact; bounds of Gilmore (1962) and Lawler (1963)", 4096, 2.0)
