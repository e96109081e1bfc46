"""Bregman alternating projected gradient: alternates between the row and the column marginal."""

from __future__ import annotations

from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.pot import ITERATIONS, TOLERANCE, plan_of
from gldbench.gw.solvers.solver import Answer, Solver

STEP = 0.1
"""below this POT's multiplicative update overflows on many graphs of unit mass"""


def run(problem: Problem) -> Answer:
    """Its plan misses one marginal by up to .2; rounding makes it feasible."""
    from ot.gromov import BAPG_gromov_wasserstein

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        return BAPG_gromov_wasserstein(
            c, d, p, q, "square_loss", epsilon=STEP, symmetric=True, max_iter=10 * ITERATIONS, tol=TOLERANCE
        )

    return plan_of(problem, solve)


SOLVER = Solver(run, "upper", "Li et al. (2023), ICLR, with POT", 512, 3.0, package="ot")
