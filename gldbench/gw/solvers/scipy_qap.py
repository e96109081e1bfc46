"""The solvers of quadratic assignment in scipy. Both search over permutations, with a fixed seed."""

from __future__ import annotations

import numpy as np
from scipy.optimize import quadratic_assignment

from gldbench.gw.couplings import permutation
from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import OBJECTIVE, Answer, Solver


def scipy_faq(problem: Problem) -> Answer:
    """Fast approximate quadratic assignment, started from the barycentre of all permutations."""
    return _assigned(problem, "faq")


def scipy_two_opt(problem: Problem) -> Answer:
    """2-opt from a random permutation: makes the first swap that helps until none does."""
    return _assigned(problem, "2opt")


def _assigned(problem: Problem, method: str) -> Answer:
    """The permutation that maximises sum C_ik D_jl, and so minimises the sum of squared differences."""
    problem.permutations_only()
    c, d, _, _ = problem.arrays
    found = quadratic_assignment(c, d, method=method, options={"maximize": True, "rng": np.random.default_rng(0)})
    return Answer(coupling=permutation(found.col_ind))


SCIPY_FAQ = Solver(
    run=scipy_faq,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} by conditional gradient, rounded to a permutation",
    source="Vogelstein et al. (2015), PLOS ONE 10, with scipy",
    max_nodes=1024,
    growth=3.0,
)
SCIPY_TWO_OPT = Solver(
    run=scipy_two_opt,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} over permutations, by swaps from a random one",
    source="Fishkind et al. (2019), Pattern Recognition 87, with scipy",
    max_nodes=64,
    growth=4.0,
)
