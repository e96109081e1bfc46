"""Fast approximate quadratic assignment."""

from __future__ import annotations

import numpy as np
from scipy.optimize import quadratic_assignment

from gldbench.gw.couplings import permutation
from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver


def run(problem: Problem) -> Answer:
    """scipy's quadratic_assignment, from the barycentre."""
    problem.permutations_only()
    c, d, _, _ = problem.arrays
    found = quadratic_assignment(c, d, method="faq", options={"maximize": True, "rng": np.random.default_rng(0)})
    return Answer(coupling=permutation(found.col_ind))


SOLVER = Solver(run, "upper", "Vogelstein et al. (2015), PLOS ONE 10, with scipy", 1024, 3.0)
