"""The solver that finds the optimum, with limits that suit a benchmark."""

from __future__ import annotations

from gldbench.gw.couplings import upper_bound
from gldbench.gw.exact import solve_exact
from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.solvers.solver import OBJECTIVE, Answer, Solver

SECONDS = 60.0
"""time limit of branch and bound"""
LARGEST_SEARCH = 16
"""nodes; above this number branch and bound takes minutes"""


def exact(problem: Problem) -> Answer:
    """The optimum: a closed form for rank-monotone graphs, branch and bound for small semi-definite ones.

    The detail "nodes" is the size of the search tree. It is 0 for the closed form. The details "proved_lower" and
    "proved_upper" are the bounds with their rounding errors.
    """
    found = solve_exact(problem, SECONDS, LARGEST_SEARCH)
    if found.value is None:
        raise NotApplicableError(found.why_null)
    bounds = {"proved_lower": found.lower, "proved_upper": upper_bound(problem, found.coupling)}
    return Answer(found.value, found.coupling, {"nodes": float(found.nodes), **bounds})


EXACT = Solver(
    run=exact,
    kind="exact",
    formula=f"GW_2^2 = min over couplings pi of {OBJECTIVE}",
    source="gldbench.gw.exact, with the bounds of Gilmore (1962) and Lawler (1963)",
    max_nodes=4096,
    growth=2.0,
)
