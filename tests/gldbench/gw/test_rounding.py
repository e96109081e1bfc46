"""No certificate is false by rounding: isomorphic pairs, exact rational arithmetic, and planted errors."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from gldbench.gw.certified import assignment_bound, eigenvalues, programme_bound
from gldbench.gw.couplings import permutation, upper_bound
from gldbench.gw.families import FAMILIES
from gldbench.gw.problem import Array, Graph, NotApplicableError, Problem, graph_from_logits, graph_from_matrix
from gldbench.gw.rounding import lowered, raised
from gldbench.gw.solve import PARTS, solve
from gldbench.gw.solvers import SOLVERS, rlt
from gldbench.timing import pinned_threads

LOWER = [name for name, solver in SOLVERS.items() if solver.kind == "lower"]


def pairs() -> list[tuple[str, Problem]]:
    spec = importlib.util.spec_from_file_location("isomorphic", Path(__file__).with_name("isomorphic.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.isomorphic_pairs())


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_no_isomorphic_pair_has_a_lower_bound_above_zero(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    """The slow search for an upper bound is left out, and the slow lower bound runs for fewer rounds."""
    monkeypatch.setattr(rlt, "ROUNDS", 15)
    made, solvers = pairs(), [name for name in PARTS if name != "restarts"]
    assert len(made) >= 168
    with pinned_threads():
        for name, problem in made[::every]:
            document = solve(problem, solvers, budget=0.02)
            bounds = [*document["lower"].values(), document["search"].get("lower", 0.0)]
            assert all(bound == 0 for bound in bounds if bound is not None), (name, document["lower"])
            assert document["interval"][0] == 0
            if document["exact"] is not None:
                assert document["lower"]["tlb"] <= document["exact"] <= document["interval"][1]


def test_isomorphic_logits_have_no_lower_bound_above_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Z^T Z is rounded in another order for permuted columns, so the two matrices are not permuted copies."""
    monkeypatch.setattr(rlt, "ROUNDS", 15)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 20))
        z = 10.0 ** rng.integers(-3, 4) * rng.normal(size=(int(rng.integers(1, 30)), n))
        copy = z[rng.permutation(len(z))][:, rng.permutation(n)]
        document = solve(Problem(graph_from_logits(z, "A"), graph_from_logits(copy, "B")), budget=0.02)
        assert not any(document["lower"].values())
        assert document["interval"][0] == 0


def rational_optimum(c: Array, d: Array) -> Fraction:
    """The best permutation in exact arithmetic: GW_2^2 of semi-definite graphs."""
    n = len(c)
    exact = [[[Fraction(x) for x in row] for row in graph.tolist()] for graph in (c, d)]
    totals = (
        sum((exact[0][i][k] - exact[1][s[i]][s[k]]) ** 2 for i in range(n) for k in range(n))
        for s in permutations(range(n))
    )
    return min(totals) / n**2


@pytest.mark.parametrize("seed", range(12))
def test_bounds_hold_in_exact_arithmetic(seed: int) -> None:
    """The graphs are Z^T Z of integers: float64 holds them exactly, and they are exactly semi-definite."""
    rng = np.random.default_rng(seed)
    n = 4
    z, y = (rng.integers(-3, 4, (n, n)).astype(float) / 8 for _ in range(2))
    if seed % 2:
        y = z[:, rng.permutation(n)] + (seed % 4 == 3) * 2.0**-12  # nearly isomorphic
    c, d = z.T @ z, y.T @ y
    problem = Problem(graph_from_matrix(c, None, "A"), graph_from_matrix(d, None, "B"))
    optimum, document = rational_optimum(c, d), solve(problem)
    for value in (*document["lower"].values(), document["search"]["lower"]):
        assert value is None or Fraction(value) <= optimum
    for value in (*document["upper"].values(), document["search"]["upper"]):
        assert Fraction(value) >= optimum
    low, high = document["interval"]
    assert low <= document["exact"] <= high
    assert high - low <= 1e-12 * max(high, float((c**2).mean()))


def test_the_bounds_lose_little() -> None:
    """Against the plain formulas of gldfusion.gw."""
    from gldfusion import gw

    rng = np.random.default_rng(0)
    c, d = (x.T @ x for x in rng.normal(size=(2, 30, 24)))
    problem = Problem(graph_from_matrix(c, None, "A"), graph_from_matrix(d, None, "B"))
    lower = solve(problem, budget=0.0)["lower"]
    c, d = torch.from_numpy(c), torch.from_numpy(d)
    f, g = c.mean(-1), d.mean(-1)
    plain = {"flb": gw.flb(f, g), "anova": gw.anova(f, g)} | {x: getattr(gw, x)(c, d) for x in ("slb", "proj", "tlb")}
    for name, value in plain.items():
        assert lower[name] == pytest.approx(float(value), rel=1e-10)
        assert lower[name] < float(value)


def test_lowered_and_raised() -> None:
    assert lowered(0.25, 0.0) <= 0.25 <= raised(0.25, 0.0)
    assert lowered(0.0, 0.0, 1e-16) == lowered(1e-20, 0.0, 0.0, 1e-9) == raised(0.0, 0.0) == 0
    assert lowered(0.25, 0.0, 0.0, 0.1) == pytest.approx(0.16)
    assert raised(0.25, 0.0, 0.0, 0.1) == pytest.approx(0.36)


def test_an_assignment_is_bounded_from_below_in_exact_arithmetic() -> None:
    for seed in range(30):
        cost = np.random.default_rng(seed).random((5, 5)) ** 8
        rows = range(5)
        optimum = min(sum(Fraction(cost[i, s[i]]) for i in rows) for s in permutations(rows)) / 5
        bound = Fraction(assignment_bound(cost))
        assert optimum - Fraction(1, 10**14) <= bound <= optimum
        even = np.full(5, 0.2)
        assert Fraction(programme_bound(cost, even, even, 1e-15)) <= optimum


def test_eigenvalues_come_with_an_error_that_holds() -> None:
    """The graph has known eigenvalues, and a library that returns wrong ones is caught by the residual."""
    order = np.random.default_rng(0).permutation(6)
    graph = torch.from_numpy(np.kron(np.diag([1.0, 2.0, -3.0]), np.ones((2, 2)))[np.ix_(order, order)])
    found = eigenvalues(graph)
    true = torch.tensor([-6.0, 0, 0, 0, 2, 4], dtype=torch.float64)
    assert float(torch.linalg.norm(found.values - true)) <= found.error < 1e-12


def test_wrong_eigenvalues_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (right(matrix)[0] + 0.1, right(matrix)[1]))
    assert eigenvalues(torch.eye(3, dtype=torch.float64)).error >= 0.1


def test_a_permutation_of_equal_graphs_costs_nothing() -> None:
    rng = np.random.default_rng(0)
    graph = rng.normal(size=(7, 7))
    order = rng.permutation(7)
    graph = graph + graph.T
    copy = graph[np.ix_(order, order)]
    problem = Problem(graph_from_matrix(copy, None, "A"), graph_from_matrix(graph, None, "B"))
    assert upper_bound(problem, permutation(order)) == 0
    assert upper_bound(problem, np.eye(7)[order] / 7) > 0


def circulant_pair(n: int, seed: int) -> Problem:
    return FAMILIES["circulants"](n, np.random.default_rng(seed)).scaled_exactly()[0]


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_the_circulant_bound_is_below_the_optimum_and_above_tlb(n: int) -> None:
    for seed in range(6):
        problem = circulant_pair(n, seed)
        c, d, _, _ = problem.arrays
        values = {name: SOLVERS[name].run(problem).value for name in ("circulant", "tlb")}
        best = min(np.square(c - d[np.ix_(s, s)]).mean() for s in map(list, permutations(range(n))))
        assert values["circulant"] <= best + 1e-15
        assert values["circulant"] >= (values["tlb"] or 0) - 1e-12


def test_other_graphs_have_no_circulant_bound() -> None:
    rng = np.random.default_rng(0)
    graph = rng.normal(size=(6, 6))
    problem = Problem(*(graph_from_matrix(graph + graph.T, None, name) for name in "AB"))
    for name in ("circulant", "circulant_two_opt"):
        with pytest.raises(NotApplicableError, match="circulant graphs"):
            SOLVERS[name].run(problem)


def test_multipliers_find_what_sorting_cannot_see() -> None:
    """All features of a circulant graph are equal. The copy is multiplied by 5 modulo 24."""
    problem = circulant_pair(24, 0)
    order = 5 * np.arange(24) % 24
    copy = Graph(24, torch.from_numpy(problem.arrays[0][np.ix_(order, order)]))
    answer = SOLVERS["circulant_two_opt"].run(Problem(problem.a, copy))
    assert answer.coupling is not None
    assert upper_bound(Problem(problem.a, copy), answer.coupling) == 0
