"""The contract of an entry of SOLVERS, for the solvers of gldbench and for the one in docs/gw.md."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gldbench.gw import couplings
from gldbench.gw.families import FAMILIES
from gldbench.gw.problem import NotApplicableError, Problem, graph_from_matrix
from gldbench.gw.solve import solve
from gldbench.gw.solvers import Answer, Solver
from gldfusion import gw

Contract = Callable[[Solver], int]
KNOWN = ("synthetic-rank-softmax", "synthetic-vocabulary-raw", "circulants", "blocks-constant", "euclidean")
"""families whose distance is known exactly"""
ROUNDING = 1e-10
"""of values, for graphs of unit mass"""


@pytest.fixture(scope="session")
def weighted() -> Problem:
    """A problem of unit mass with weights and unequal sizes."""
    rng = np.random.default_rng(3)
    z, y, p, q = rng.normal(size=(5, 4)), rng.normal(size=(5, 6)), rng.random(4), rng.random(6)
    graphs = graph_from_matrix(z.T @ z, p / p.sum(), "A"), graph_from_matrix(y.T @ y, q / q.sum(), "B")
    return Problem(*graphs).to_unit_mass()[0]


@pytest.fixture(scope="session")
def check_solver(weighted: Problem) -> Contract:
    """Checks a solver on all problems, and returns the number of problems that it applies to."""
    named = (*KNOWN, "erdos-renyi")
    made = [FAMILIES[name](6, np.random.default_rng(0)).to_unit_mass()[0] for name in named]
    intervals = [(problem, solve(problem)["interval"]) for problem in (*made, weighted)]
    for _, (low, high) in intervals[: len(KNOWN)]:
        assert low == pytest.approx(high, abs=ROUNDING)

    def check(solver: Solver) -> int:
        for text in (solver.summary, solver.formula, solver.source):
            assert text.strip()
        assert solver.summary.endswith(".")
        return sum(_applies(solver, problem, interval) for problem, interval in intervals)

    return check


def _applies(solver: Solver, problem: Problem, interval: tuple[float, float]) -> bool:
    """Runs a solver and checks its answer; False if it says that it does not apply, and why."""
    try:
        answer = solver.run(problem)
    except NotApplicableError as error:
        reason = str(error)
    else:
        _check_answer(solver, problem, answer, *interval)
        return True
    assert len(reason) > 5
    return False


def _check_answer(solver: Solver, problem: Problem, answer: Answer, low: float, high: float) -> None:
    """Lower bounds are below GW_2^2, couplings are feasible and above it, other numbers are right."""
    if solver.kind == "upper":
        assert answer.coupling is not None
        assert couplings.upper_bound(problem, answer.coupling) >= low - ROUNDING
        return
    assert answer.value is not None
    if solver.kind == "evaluation":
        low = high = couplings.cost(problem, gw.sorted_coupling(*problem.matrices, *problem.weights))
    least, most = {"lower": (0, high), "paper": (0, high**0.5)}.get(solver.kind, (low, high))
    assert least - ROUNDING <= answer.value <= most + ROUNDING
