"""The objective at the sorted coupling by its definition: O(n^2 m^2), what the paper compares its speed with."""

from __future__ import annotations

import numpy as np

from gldbench.gw.couplings import as_plan
from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw


def run(problem: Problem) -> Answer:
    """Four nested sums over all nodes; the inner two are vectorised."""
    c, d, _, _ = problem.arrays
    plan = as_plan(problem, gw.sorted_coupling(*problem.matrices, *problem.weights))
    total = 0.0
    for i in range(problem.n):
        for j in range(problem.m):
            total += plan[i, j] * float((np.square(c[i][:, None] - d[j]) * plan).sum())
    return Answer(total)


SOLVER = Solver(run, "evaluation", "definition; O(n^4)", 128, 4.0)
