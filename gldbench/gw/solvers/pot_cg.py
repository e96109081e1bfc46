"""Conditional gradient from the product plan: POT's default solver."""

from __future__ import annotations

from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.pot import plan_of
from gldbench.gw.solvers.solver import Answer, Solver


def run(problem: Problem) -> Answer:
    """ot.gromov.gromov_wasserstein with its defaults."""
    from ot.gromov import gromov_wasserstein

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        return gromov_wasserstein(c, d, p, q, "square_loss", symmetric=True)

    return plan_of(problem, solve)


SOLVER = Solver(run, "upper", "Vayer et al. (2019), ICML, with POT", 1024, 3.0, package="ot")
