"""Third lower bound: optimal transport between sorted rows."""

from __future__ import annotations

from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw

LARGEST_PROGRAMME = 300 * 300
"""entries of the cost matrix beyond which the linear programme of unequal sizes takes minutes"""


def run(problem: Problem) -> Answer:
    """Assignment for n = m with uniform weights, otherwise a linear programme."""
    if (problem.n != problem.m or not problem.uniform) and problem.n * problem.m > LARGEST_PROGRAMME:
        raise NotApplicableError(f"the linear programme of {problem.n} x {problem.m} nodes takes minutes")
    return Answer(gw.tlb(*problem.matrices, *problem.weights))


SOLVER = Solver(run, "lower", "Memoli (2011), Foundations of Computational Mathematics 11", 2048, 3.0)
