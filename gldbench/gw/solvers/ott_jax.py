"""OTT-JAX's entropic Gromov-Wasserstein."""

from __future__ import annotations

import numpy as np

from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.base import Answer, Solver
from gldbench.gw.solvers.pot import EPSILON, plan_of


def run(problem: Problem) -> Answer:
    """Compiled at the first call of each size; in float32 unless JAX is told otherwise, hence rounded."""
    from ott.geometry import geometry  # pyright: ignore[reportMissingImports]
    from ott.problems.quadratic import quadratic_problem  # pyright: ignore[reportMissingImports]
    from ott.solvers.linear import sinkhorn  # pyright: ignore[reportMissingImports]
    from ott.solvers.quadratic import gromov_wasserstein  # pyright: ignore[reportMissingImports]

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        first, second = geometry.Geometry(cost_matrix=c), geometry.Geometry(cost_matrix=d)
        stated = quadratic_problem.QuadraticProblem(first, second, a=p, b=q)
        solver = gromov_wasserstein.GromovWasserstein(sinkhorn.Sinkhorn(), epsilon=EPSILON)
        return np.asarray(solver(stated).matrix)

    return plan_of(problem, solve)


SOLVER = Solver(run, "upper", "Cuturi et al. (2022), arXiv 2201.12324", 1024, 3.0, package="ott")
