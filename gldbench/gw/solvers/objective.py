"""Two ways to compute the cost of the sorted coupling, to compare their speed with that of sorting."""

from __future__ import annotations

import numpy as np

from gldbench.gw.couplings import as_plan
from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import OBJECTIVE, Answer, Solver
from gldfusion import gw


def naive(problem: Problem) -> Answer:
    """The cost of the sorted coupling by its definition. The paper compares its speed with this O(n^2 m^2) sum.

    The two outer sums are Python loops, the two inner ones are vectorised.
    """
    c, d, _, _ = problem.arrays
    plan = as_plan(problem, gw.sorted_coupling(*problem.matrices, *problem.weights))
    total = 0.0
    for i in range(problem.n):
        for j in range(problem.m):
            total += plan[i, j] * float((np.square(c[i][:, None] - d[j]) * plan).sum())
    return Answer(total)


def factored(problem: Problem) -> Answer:
    """The cost of the sorted coupling with the square expanded: matrix products in O(n^2 m + n m^2)."""
    c, d, p, q = problem.arrays
    plan = as_plan(problem, gw.sorted_coupling(*problem.matrices, *problem.weights))
    return Answer(float(p @ c**2 @ p + q @ d**2 @ q - 2 * np.sum((c @ plan @ d) * plan)))


NAIVE = Solver(
    run=naive,
    kind="evaluation",
    formula=OBJECTIVE,
    source="definition of the objective, O(n^4) for n = m",
    max_nodes=128,
    growth=4.0,
)
FACTORED = Solver(
    run=factored,
    kind="evaluation",
    formula="p^T C^2 p + q^T D^2 q - 2 <C pi D, pi>, with entrywise squares",
    source="Peyre, Cuturi and Solomon (2016), ICML, O(n^3) for n = m",
    max_nodes=1024,
    growth=3.0,
)
