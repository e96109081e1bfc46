"""The coupling that the paper's sorting implies, and two local searches that start from it."""

from __future__ import annotations

import numpy as np

from gldbench.gw.couplings import as_plan, permutation
from gldbench.gw.local_search import two_opt
from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.pot import plan_of
from gldbench.gw.solvers.solver import OBJECTIVE, Answer, Solver
from gldfusion import gw


def sorted_coupling(problem: Problem) -> Answer:
    """The coupling that matches the nodes of both graphs in the order of their features."""
    pieces = gw.sorted_coupling(*problem.matrices, *problem.weights)
    return Answer(coupling=gw.Pieces(*(t.cpu() for t in pieces)))


def sorted_cg(problem: Problem) -> Answer:
    """Conditional gradient that starts from the sorted coupling (POT's gromov_wasserstein with G0)."""
    from ot.gromov import gromov_wasserstein

    start = as_plan(problem, gw.sorted_coupling(*problem.matrices, *problem.weights))

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        return gromov_wasserstein(c, d, p, q, "square_loss", symmetric=True, G0=start)

    return plan_of(problem, solve)


def sorted_two_opt(problem: Problem) -> Answer:
    """2-opt that starts from the sorted coupling: makes the best swap of two nodes until no swap lowers the cost."""
    problem.permutations_only()
    c, d, _, _ = problem.arrays
    start = gw.sorted_coupling(*problem.matrices)
    columns = np.empty(problem.n, dtype=np.int64)
    columns[start.i.numpy()] = start.j.numpy()
    return Answer(coupling=permutation(two_opt(c, d, columns)))


SORTED = Solver(
    run=sorted_coupling,
    kind="upper",
    formula=f"{OBJECTIVE}, where pi matches the sorted f = C p with the sorted g = D q",
    source="InfiGFusion (arXiv 2505.13893), with the coupling made explicit",
    max_nodes=4096,
    growth=2.0,
    gpu=True,
)
SORTED_CG = Solver(
    run=sorted_cg,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} by conditional gradient from the sorted coupling",
    source="Vayer et al. (2019), ICML, with POT",
    max_nodes=1024,
    growth=3.0,
    package="ot",
)
SORTED_TWO_OPT = Solver(
    run=sorted_two_opt,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} over permutations, by swaps from the sorted coupling",
    source="Croes (1958), Operations Research 6, applied to quadratic assignment",
    max_nodes=512,
    growth=4.0,
)
