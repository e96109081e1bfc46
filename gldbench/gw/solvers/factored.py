"""The objective at the sorted coupling with the square factored: O(n^2 m + n m^2)."""

from __future__ import annotations

import numpy as np

from gldbench.gw.couplings import as_plan
from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw


def run(problem: Problem) -> Answer:
    """p^T C^2 p + q^T D^2 q - 2 <C pi D, pi>"""
    c, d, p, q = problem.arrays
    plan = as_plan(problem, gw.sorted_coupling(*problem.matrices, *problem.weights))
    return Answer(float(p @ c**2 @ p + q @ d**2 @ q - 2 * np.sum((c @ plan @ d) * plan)))


SOLVER = Solver(run, "evaluation", "Peyre, Cuturi and Solomon (2016), ICML; O(n^3)", 1024, 3.0)
