"""Low-rank Gromov-Wasserstein: graphs and plan in factors."""

from __future__ import annotations

from typing import Any

import numpy as np

from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.pot import ITERATIONS, plan_of
from gldbench.gw.solvers.solver import Answer, Solver

RANK = 8


def run(problem: Problem) -> Answer:
    """C = A A'^T from the eigenvectors, exact for every symmetric matrix; the plan has rank 8 before rounding."""
    from ot.gromov import lowrank_gromov_wasserstein_samples

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        factors = [_factors(graph) for graph in (c, d)]
        found: Any = lowrank_gromov_wasserstein_samples(
            factors[0][0],
            factors[1][0],
            p,
            q,
            rank=min(RANK, problem.n, problem.m),
            cost_factorized_Xs=factors[0],
            cost_factorized_Xt=factors[1],
            numItermax=ITERATIONS,
            numItermax_dykstra=ITERATIONS,
            warn=False,
            warn_dykstra=False,
        )
        left, right, middle = found
        return left @ np.diag(1 / middle) @ right.T

    return plan_of(problem, solve)


def _factors(graph: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(graph)
    kept = np.abs(values) > 1e-12 * np.abs(values).max()
    return vectors[:, kept] * values[kept], vectors[:, kept]


SOLVER = Solver(run, "upper", "Scetbon, Peyre and Cuturi (2022), ICML, with POT", 512, 2.5, package="ot")
