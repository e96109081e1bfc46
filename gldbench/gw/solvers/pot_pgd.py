"""Entropic Gromov-Wasserstein by projected gradient."""

from __future__ import annotations

from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.pot import EPSILON, ITERATIONS, TOLERANCE, plan_of
from gldbench.gw.solvers.solver import Answer, Solver


def run(problem: Problem) -> Answer:
    """The plan's unregularised cost is what counts, after rounding."""
    from ot.gromov import entropic_gromov_wasserstein

    options = {"epsilon": EPSILON, "solver": "PGD", "max_iter": ITERATIONS, "tol": TOLERANCE, "numItermax": ITERATIONS}

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        return entropic_gromov_wasserstein(c, d, p, q, "square_loss", symmetric=True, **options)

    return plan_of(problem, solve)


SOLVER = Solver(run, "upper", "Peyre, Cuturi and Solomon (2016), ICML, with POT", 512, 3.0, package="ot")
