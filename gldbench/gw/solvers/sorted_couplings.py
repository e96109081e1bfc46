"""2-opt from the sorted coupling."""

from __future__ import annotations

import numpy as np

from gldbench.gw.couplings import permutation
from gldbench.gw.local_search import two_opt
from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw


def run(problem: Problem) -> Answer:
    """The best swap until none helps."""
    problem.permutations_only()
    c, d, _, _ = problem.arrays
    start = gw.sorted_coupling(*problem.matrices)
    columns = np.empty(problem.n, dtype=np.int64)
    columns[start.i.numpy()] = start.j.numpy()
    return Answer(coupling=permutation(two_opt(c, d, columns)))


SOLVER = Solver(run, "upper", "Croes (1958), Operations Research 6, on quadratic assignment", 512, 4.0)
