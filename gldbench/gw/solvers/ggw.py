"""The paper's approximation: sorted node features."""

from __future__ import annotations

from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw


def run(problem: Problem) -> Answer:
    """W_1(f, g) = ggw_mean; ggw_sum is n times this."""
    return Answer(float(gw.ggw_mean(problem.a.features(), problem.b.features(), *problem.weights)))


SOLVER = Solver(run, "paper", "InfiGFusion (arXiv 2505.13893)", max_nodes=10**7, growth=1.1, gpu=True)
