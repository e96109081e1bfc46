"""The coupling that the paper's sorting implies, priced as a coupling."""

from __future__ import annotations

from gldbench.gw.problem import Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw


def run(problem: Problem) -> Answer:
    """Nodes matched monotonely by their features."""
    pieces = gw.sorted_coupling(*problem.matrices, *problem.weights)
    return Answer(coupling=gw.Pieces(*(t.cpu() for t in pieces)))


SOLVER = Solver(run, "upper", "InfiGFusion (arXiv 2505.13893), coupling made explicit", 4096, 2.0, gpu=True)
