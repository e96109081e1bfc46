"""Mean and main effects of the Hoeffding decomposition."""

from __future__ import annotations

from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw


def run(problem: Problem) -> Answer:
    """(c - d)^2 + 2 W_2^2(f - c, g - d)"""
    return Answer(float(gw.anova(problem.a.features(), problem.b.features(), *problem.weights)))


SOLVER = Solver(run, "lower", "gldfusion.gw; decomposition of Hoeffding (1948)", 10**7, 1.1, gpu=True)
