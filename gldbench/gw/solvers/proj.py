"""ANOVA and the distance of the projected spectra."""

from __future__ import annotations

from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw


def run(problem: Problem) -> Answer:
    """O(n^3)"""
    return Answer(float(gw.proj(*problem.matrices, *problem.weights)))


SOLVER = Solver(run, "lower", "Hadley, Rendl and Wolkowicz (1992)", 4096, 3.0, gpu=True)
