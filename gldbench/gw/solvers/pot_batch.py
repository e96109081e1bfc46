"""POT's batched solver, here with one problem in the batch."""

from __future__ import annotations

from typing import Any

import torch

from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.pot import EPSILON, plan_of
from gldbench.gw.solvers.solver import Answer, Solver


def run(problem: Problem) -> Answer:
    """ot.batch.solve_gromov_batch on the tensors of the problem, on their device."""
    from ot.batch import solve_gromov_batch

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        first, second = (graph[None] for graph in problem.matrices)
        a, b = (torch.from_numpy(weights)[None].to(first) for weights in (p, q))
        found: Any = solve_gromov_batch(first, second, EPSILON, a, b, symmetric=True)
        return found.plan[0].cpu().numpy()

    return plan_of(problem, solve)


SOLVER = Solver(run, "upper", "POT, ot.batch", 512, 3.0, package="ot", gpu=True)
