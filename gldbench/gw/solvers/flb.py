"""First lower bound: W_2^2 of the node features."""

from __future__ import annotations

from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw


def run(problem: Problem) -> Answer:
    """W_2^2(f, g)"""
    return Answer(float(gw.flb(problem.a.features(), problem.b.features(), *problem.weights)))


SOLVER = Solver(run, "lower", "Memoli (2011), Foundations of Computational Mathematics 11", 10**7, 1.1, gpu=True)
