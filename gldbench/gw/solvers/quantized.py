"""Quantized Gromov-Wasserstein: solve between representatives, then inside their parts."""

from __future__ import annotations

from typing import Any

from gldbench.gw.problem import Array, NotApplicableError, Problem
from gldbench.gw.solvers.pot import plan_of
from gldbench.gw.solvers.solver import Answer, Solver


def run(problem: Problem) -> Answer:
    """sqrt(n) parts, drawn at random with a fixed seed: fluid parts would ask that the graphs be connected."""
    from ot.gromov import quantized_fused_gromov_wasserstein

    parts = [max(1, round(size**0.5)) for size in (problem.n, problem.m)]
    if min(parts) < 2:
        raise NotApplicableError("too few nodes to be parted")

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        first, second = parts
        options: dict[str, Any] = {"part_method": "random", "rep_method": "random", "random_state": 0}
        return quantized_fused_gromov_wasserstein(c, d, first, second, p, q, alpha=1.0, **options)[2]

    return plan_of(problem, solve)


SOLVER = Solver(run, "upper", "Chowdhury, Miller and Needham (2021), ECML PKDD, with POT", 2048, 2.0, package="ot")
