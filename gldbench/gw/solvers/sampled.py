"""Gromov-Wasserstein with a sampled gradient."""

from __future__ import annotations

from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.pot import EPSILON, plan_of
from gldbench.gw.solvers.solver import Answer, Solver

SAMPLES, STEPS = 32, 10


def run(problem: Problem) -> Answer:
    """A fixed seed, so that the same problem has the same answer."""
    from ot.gromov import sampled_gromov_wasserstein

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        options = {"nb_samples_grad": min(SAMPLES, problem.n), "epsilon": EPSILON, "max_iter": STEPS}
        return sampled_gromov_wasserstein(c, d, p, q, lambda x, y: (x - y) ** 2, random_state=0, **options)

    return plan_of(problem, solve)


SOLVER = Solver(
    run, "upper", "Kerdoncuff, Emonet and Sebban (2021), Machine Learning 110, with POT", 512, 2.5, package="ot"
)
