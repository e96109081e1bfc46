"""Second lower bound: W_2^2 of all entries."""

from __future__ import annotations

from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw


def run(problem: Problem) -> Answer:
    """O(n^2 log n)"""
    return Answer(float(gw.slb(*problem.matrices, *problem.weights)))


SOLVER = Solver(run, "lower", "Memoli (2011), Foundations of Computational Mathematics 11", 4096, 2.2, gpu=True)
