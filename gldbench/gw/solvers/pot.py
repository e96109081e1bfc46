"""What the solvers of POT (Python Optimal Transport, Flamary et al. 2021) share: a quiet call, and a feasible plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gldbench.gw.couplings import FEASIBLE, marginal_error, rounded
from gldbench.gw.problem import Array, NotApplicableError, Problem
from gldbench.gw.solvers.solver import Answer

EPSILON = 0.02
"""entropic regularisation, for graphs of unit mass"""
ITERATIONS = 100
TOLERANCE = 1e-6


def plan_of(problem: Problem, solve: Callable[[Array, Array, Array, Array], Any]) -> Answer:
    """The plan that solve(C, D, p, q) returns, rounded where its marginals are not exact."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # "did not converge" is no news: the plan's true cost is measured afterwards.
        warnings.simplefilter("ignore")
        plan = np.asarray(solve(*problem.arrays), dtype=np.float64)
    if not np.isfinite(plan).all():
        raise NotApplicableError("the solver overflowed: its plan holds NaN or infinity")
    return Answer(coupling=plan if marginal_error(problem, plan) <= FEASIBLE else rounded(problem, plan))
