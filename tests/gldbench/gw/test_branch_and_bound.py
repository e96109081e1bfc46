"""Branch and bound agrees with brute force, its bounds hold if time runs out, and 2-opt ends at a local minimum."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gldbench.gw import branch_and_bound as module
from gldbench.gw.branch_and_bound import branch_and_bound
from gldbench.gw.exact import solve_exact
from gldbench.gw.families import FAMILIES
from gldbench.gw.local_search import two_opt
from gldbench.gw.problem import Array, NotApplicableError, Problem, graph_from_matrix


def psd(n: int, seed: int, kind: str) -> Array:
    rng = np.random.default_rng(seed)
    z = {
        "gaussian": lambda: rng.normal(size=(n, n)),
        "positive": lambda: rng.random((n + 2, n)),
        "twins": lambda: rng.integers(0, 2, (3, n)).astype(float),
        "sparse": lambda: rng.random((n, n)) * (rng.random((n, n)) < 0.3),
        "ring": lambda: np.eye(n) + np.roll(np.eye(n), 1, 0),
    }[kind]()
    graph = z.T @ z
    return graph / max(np.abs(graph).mean(), 1e-9)


def brute_force(c: Array, d: Array) -> float:
    return min(np.square(c - d[np.ix_(s, s)]).mean() for s in map(list, permutations(range(len(c)))))


KINDS = st.sampled_from(["gaussian", "positive", "twins", "sparse", "ring"])


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), KINDS, KINDS)
@settings(max_examples=60, deadline=None)
def test_agrees_with_brute_force(seed: int, n: int, first: str, second: str) -> None:
    c, d = psd(n, seed, first), psd(n, seed + 1, second)
    found = branch_and_bound(c, d, 10)
    assert found.proved
    assert found.value == pytest.approx(brute_force(c, d), abs=1e-12)
    assert found.lower <= found.value
    assert found.lower == pytest.approx(found.value, abs=2 * module.PRECISION * (np.square(c) + np.square(d)).mean())
    order = found.columns
    assert np.square(c - d[np.ix_(order, order)]).mean() == pytest.approx(found.value, abs=1e-12)


def test_the_tree_decides_and_not_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search finds the optimum even if it starts from a bad permutation."""
    monkeypatch.setattr(module, "two_opt", lambda c, d, columns: columns)
    monkeypatch.setattr(module, "RESTARTS", 0)
    for seed in range(10):
        c, d = psd(6, seed, "gaussian"), psd(6, seed + 50, "gaussian")
        assert branch_and_bound(c, d, 10).value == pytest.approx(brute_force(c, d), abs=1e-12)


@pytest.mark.parametrize("bug", ["bound", "twins", "reduced"])
def test_a_planted_bug_shows(monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    """With bounds that are too high, false twins or reduced costs that are too large, the search misses optima."""
    monkeypatch.setattr(module, "two_opt", lambda c, d, columns: columns)
    monkeypatch.setattr(module, "RESTARTS", 0)
    if bug == "bound":
        right = module._costs
        monkeypatch.setattr(module, "_costs", lambda *a: 1.3 * right(*a))
    elif bug == "twins":
        monkeypatch.setattr(module, "_twin_classes", lambda graph: np.zeros(len(graph), dtype=np.int64))
    else:
        reduced = module._reduced_costs
        monkeypatch.setattr(module, "_reduced_costs", lambda *a: 3 * reduced(*a))
    pairs = [(psd(6, seed, "gaussian"), psd(6, seed + 50, "gaussian")) for seed in range(20)]
    wrong = [abs(branch_and_bound(c, d, 10).value - brute_force(c, d)) > 1e-9 for c, d in pairs]
    assert any(wrong)


@pytest.mark.parametrize("kind", ["gaussian", "positive", "sparse"])
def test_twelve_nodes_need_few_nodes_of_the_tree(kind: str) -> None:
    """The size of the tree does not depend on the machine, as the seconds do."""
    found = branch_and_bound(psd(12, 1, kind), psd(12, 2, kind), 250)
    assert found.proved
    assert 0 < found.nodes < 20_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian", "positive", "sparse", "twins"])
def test_fourteen_nodes_need_few_nodes_of_the_tree(kind: str) -> None:
    for seed in range(3):
        found = branch_and_bound(psd(14, seed, kind), psd(14, seed + 9, kind), 250)
        assert found.proved
        assert found.nodes < 200_000


def test_past_the_budget_there_is_an_interval() -> None:
    c, d = psd(16, 1, "gaussian"), psd(16, 2, "gaussian")
    cut, whole = branch_and_bound(c, d, 0.0), branch_and_bound(c, d, 0.3)
    for found in (cut, whole):
        assert 0 < found.lower <= found.value
    assert not cut.proved
    assert cut.nodes == 1
    assert whole.lower >= cut.lower - 1e-12


def test_identical_nodes_do_not_blow_up_the_tree() -> None:
    c = np.kron(np.eye(2), np.ones((6, 6)))
    d = np.kron(np.eye(3), np.ones((4, 4)))
    found = branch_and_bound(c, d, 10)
    assert found.proved
    assert found.nodes < 5000


def graphs(c: Array, d: Array) -> Problem:
    return Problem(graph_from_matrix(c, None, "A"), graph_from_matrix(d, None, "B"))


def test_euclidean_distances_are_concave_too() -> None:
    """They are negative semi-definite on vectors of sum 0. No coupling that POT finds beats the permutation."""
    import ot

    rng = np.random.default_rng(0)
    c, d = (np.linalg.norm(x[:, None] - x, axis=-1) for x in rng.normal(size=(2, 5, 2)))
    found = solve_exact(graphs(c, d), 10)
    assert found.value == pytest.approx(brute_force(c, d), abs=1e-12)
    p = np.full(5, 0.2)
    for _ in range(20):
        start = ot.sinkhorn(p, p, rng.random((5, 5)), 0.1)
        value = ot.gromov_wasserstein2(c, d, p, p, G0=start, tol_rel=1e-12, tol_abs=1e-12)
        assert float(np.asarray(value)) >= found.value - 1e-9


def test_indefinite_graphs_have_no_certified_permutation() -> None:
    swap, identity = np.array([[0.0, 1], [1, 0]]), np.eye(2)
    for c, d in ((swap, identity), (identity, -identity)):
        with pytest.raises(NotApplicableError, match="indefinite"):
            solve_exact(graphs(c, d), 1)
    assert solve_exact(graphs(-identity, -2 * identity), 1).value == pytest.approx(0.5)


def test_two_opt_ends_where_no_swap_helps() -> None:
    rng = np.random.default_rng(0)
    c, d = psd(8, 1, "gaussian"), psd(8, 2, "gaussian")
    start = rng.permutation(8)
    found = two_opt(c, d, start)
    value = np.square(c - d[np.ix_(found, found)]).mean()
    assert value <= np.square(c - d[np.ix_(start, start)]).mean()
    for i in range(8):
        for k in range(i):
            swapped = found.copy()
            swapped[[i, k]] = swapped[[k, i]]
            assert np.square(c - d[np.ix_(swapped, swapped)]).mean() >= value - 1e-10


def test_circulant_graphs_need_one_image_of_the_first_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search over one image finds the optimum of all, with a smaller tree."""
    for seed in range(3):
        problem = FAMILIES["circulants"](8, np.random.default_rng(seed))
        c, d, _, _ = problem.arrays
        fast = branch_and_bound(c, d, 250)
        with monkeypatch.context() as patch:
            patch.setattr(module, "is_cyclic", lambda graph: False)
            slow = branch_and_bound(c, d, 250)
        assert fast.proved
        assert fast.value == pytest.approx(slow.value, rel=1e-9)
        assert fast.nodes <= slow.nodes
