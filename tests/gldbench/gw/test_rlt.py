"""The bound over pairs of matched nodes, and the search that leaves local minima."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch

from gldbench.gw.couplings import upper_bound
from gldbench.gw.families import FAMILIES
from gldbench.gw.problem import Array, NotApplicableError, Problem, graph_from_matrix
from gldbench.gw.solvers import SOLVERS, rlt
from gldbench.gw.solvers.rlt import bound, multipliers


def pair(n: int, seed: int, scale: float = 1.0) -> tuple[Array, Array]:
    """Two graphs whose entries are multiples of 1/64, so that float64 holds them exactly."""
    rng = np.random.default_rng(seed)
    z, y = (rng.integers(-4, 5, (n, n)).astype(float) / 8 for _ in range(2))
    return scale * z.T @ z, scale * y.T @ y


def optimum(c: Array, d: Array) -> Fraction:
    """The least mean squared difference over permutations, in exact arithmetic."""
    n = len(c)
    first, second = ([[Fraction(x) for x in row] for row in graph.tolist()] for graph in (c, d))
    sums = (
        sum((first[i][k] - second[s[i]][s[k]]) ** 2 for i in range(n) for k in range(n)) for s in permutations(range(n))
    )
    return min(sums) / n**2


def problem(c: Array, d: Array) -> Problem:
    return Problem(graph_from_matrix(c, None, "A"), graph_from_matrix(d, None, "B"))


@pytest.mark.parametrize("seed", range(8))
def test_the_bound_is_right_for_any_multipliers(seed: int) -> None:
    """Random multipliers, large ones among them, give poor bounds and never false ones."""
    n = 4
    c, d = pair(n, seed, 2.0 ** (3 * seed - 12))
    best = optimum(c, d)
    generator = torch.Generator().manual_seed(seed)
    for size in (0.0, 1e-3, 1.0, 1e6):
        proposed = size * torch.randn((n, n, n, n), generator=generator)
        value, rounding = bound(c, d, proposed)
        assert Fraction(value) - Fraction(rounding) <= best
    value, rounding = bound(c, d, multipliers(c, d))
    assert best / 2 < Fraction(value) <= best + Fraction(rounding)


def test_multipliers_that_are_not_antisymmetric_would_be_false(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug uses the proposed numbers as they are."""
    c, d = pair(4, 0)
    proposed = torch.full((4, 4, 4, 4), -1.0)
    assert bound(c, d, proposed)[0] <= float(optimum(c, d)) + 1e-12
    right = rlt._blocks
    monkeypatch.setattr(rlt, "_blocks", lambda *a: ((block + 1.0, high) for block, high in right(*a)))
    assert bound(c, d, proposed)[0] > float(optimum(c, d))


@pytest.mark.parametrize("family", ["synthetic-vocabulary-raw", "synthetic-vocabulary-logprob", "euclidean"])
def test_the_bound_lies_between_tlb_and_the_optimum(family: str) -> None:
    for seed in range(2):
        given = FAMILIES[family](8, np.random.default_rng([41, seed])).scaled_exactly()[0]
        values = {name: SOLVERS[name].run(given).value or 0.0 for name in ("tlb", "rlt", "exact")}
        assert values["tlb"] < values["rlt"] <= values["exact"]
        assert values["exact"] < 1.2 * values["rlt"]


def test_the_bound_does_not_depend_on_units_or_the_order_of_nodes() -> None:
    given = FAMILIES["synthetic-vocabulary-raw"](7, np.random.default_rng([41, 9]))
    c, d, _, _ = given.arrays
    order = np.random.default_rng(0).permutation(7)
    plain, moved = (SOLVERS["rlt"].run(problem(x, d)).value for x in (c, c[np.ix_(order, order)]))
    scaled = SOLVERS["rlt"].run(problem(1e3 * c, 1e3 * d)).value
    assert moved == pytest.approx(plain, rel=1e-3)
    assert scaled == pytest.approx(1e6 * (plain or 0), rel=1e-3)


def test_graphs_without_a_best_permutation_have_no_such_bound() -> None:
    rng = np.random.default_rng(0)
    graph = rng.normal(size=(6, 6))
    with pytest.raises(NotApplicableError, match="indefinite"):
        rlt.rlt(problem(graph + graph.T, graph @ graph.T))
    with pytest.raises(NotApplicableError, match="rank-monotone"):
        rlt.rlt(problem(np.ones((4, 4)), np.full((4, 4), 2.0)))
    with pytest.raises(NotApplicableError, match="nodes"):
        rlt.rlt(problem(np.eye(2), np.eye(2)))


@pytest.mark.parametrize("family", ["synthetic-vocabulary-raw", "circulants"])
def test_kicks_and_tabu_search_find_the_optimum_of_small_graphs(family: str) -> None:
    for seed in range(3):
        given = FAMILIES[family](8, np.random.default_rng([41, seed])).scaled_exactly()[0]
        answer = SOLVERS["restarts"].run(given)
        assert answer.coupling is not None
        assert upper_bound(given, answer.coupling) == pytest.approx(SOLVERS["exact"].run(given).value, rel=1e-9)


def test_kicks_and_tabu_search_leave_local_minima() -> None:
    """At 24 nodes 2-opt alone often ends in a worse permutation, and never in a better one."""
    ratios = []
    for seed in range(4):
        given = FAMILIES["synthetic-vocabulary-raw"](24, np.random.default_rng([41, seed])).scaled_exactly()[0]
        costs = []
        for name in ("restarts", "sorted_two_opt"):
            coupling = SOLVERS[name].run(given).coupling
            assert coupling is not None
            costs.append(upper_bound(given, coupling))
        ratios.append(costs[0] / costs[1])
    assert max(ratios) <= 1
    assert np.mean(ratios) < 0.97
