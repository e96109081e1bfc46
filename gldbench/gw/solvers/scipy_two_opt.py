"""scipy's 2-opt: the first swap that helps, from a random permutation."""

from __future__ import annotations

import numpy as np
from scipy.optimize import quadratic_assignment

from gldbench.gw.couplings import permutation
from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver


def run(problem: Problem) -> Answer:
    """A fixed seed, so that the same problem has the same answer."""
    problem.permutations_only()
    c, d, _, _ = problem.arrays
    found = quadratic_assignment(c, d, method="2opt", options={"maximize": True, "rng": np.random.default_rng(0)})
    return Answer(coupling=permutation(found.col_ind))


SOLVER = Solver(run, "upper", "Fishkind et al. (2019), Pattern Recognition 87, with scipy", 64, 4.0)
