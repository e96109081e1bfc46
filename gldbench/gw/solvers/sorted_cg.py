"""Conditional gradient from the sorted coupling."""

from __future__ import annotations

from gldbench.gw.couplings import as_plan
from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.pot import plan_of
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw


def run(problem: Problem) -> Answer:
    """POT's gromov_wasserstein with G0 = the sorted coupling."""
    from ot.gromov import gromov_wasserstein

    start = as_plan(problem, gw.sorted_coupling(*problem.matrices, *problem.weights))

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        return gromov_wasserstein(c, d, p, q, "square_loss", symmetric=True, G0=start)

    return plan_of(problem, solve)


SOLVER = Solver(run, "upper", "Vayer et al. (2019), ICML, with POT", 1024, 3.0, package="ot")
