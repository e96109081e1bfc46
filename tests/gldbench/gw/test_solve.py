"""`solve`: five test vectors, certificates on random instances, and planted errors that must be caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gldbench.gw import couplings
from gldbench.gw.problem import NotApplicableError, Problem, graph_from_logits, graph_from_matrix
from gldbench.gw.solve import PARTS, solve
from gldbench.gw.solvers import SOLVERS, Answer, Solver, missing, require, solver_names
from gldbench.gw.solvers.solver import EXTRAS
from gldfusion.errors import InputError
from gldfusion.gw import Pieces

INSTALLED = [name for name, solver in SOLVERS.items() if not missing(solver)]


def of_logits(z: Any, y: Any) -> Problem:
    return Problem(graph_from_logits(np.asarray(z), "A"), graph_from_logits(np.asarray(y), "B"))


def of_matrices(c: Any, d: Any, p: Any = None, q: Any = None) -> Problem:
    return Problem(graph_from_matrix(np.asarray(c), p, "A"), graph_from_matrix(np.asarray(d), q, "B"))


def residues() -> Problem:
    i, t = np.arange(6), np.arange(5)[:, None]
    return of_logits(((t + 1) * (i + 1) % 7) / 7, ((t + 2) * (i + 1) ** 2 % 7) / 7)


def integers() -> Problem:
    return of_logits(
        [[2, 1, 1, 2, 2], [0, 1, 2, 2, 2], [0, 0, 2, 0, 1]], [[1, 2, 1, 0, 1], [0, 1, 2, 2, 2], [1, 0, 1, 2, 2]]
    )


def rank_one() -> Problem:
    return of_logits([[0.2, 0.4, 0.6, 0.8, 1.0]], [[0.1, 0.3, 0.5, 0.7, 0.9]])


def blocks(n: int) -> Problem:
    return of_matrices(np.kron(np.eye(2), np.ones((n // 2, n // 2))), np.full((n, n), 0.5))


def flat(document: dict[str, Any]) -> dict[str, Any]:
    return document | document["lower"] | document["upper"]


VECTORS: dict[str, tuple[Problem, dict[str, Any]]] = {
    "residues": (
        residues(),
        {"ggw_sum": Fraction(11, 6), "flb": Fraction(1039, 10584), "anova": Fraction(6539, 63504)}
        | {"sorted": Fraction(1333, 9604), "exact": Fraction(11035, 86436)},
    ),
    "integers": (
        integers(),
        {"ggw_sum": Fraction(14, 5), "flb": Fraction(46, 125), "anova": Fraction(316, 625), "sorted": Fraction(8, 5)}
        | dict.fromkeys(("exact", "slb", "tlb"), Fraction(4, 5)),
    ),
    "rank one": (
        rank_one(),
        {"ggw_sum": 0.55, "flb": 0.0129} | dict.fromkeys(("anova", "sorted", "exact"), 0.0137),
    ),
    "blocks": (blocks(8), {"ggw_sum": 0} | dict.fromkeys(("proj", "slb", "exact", "sorted"), Fraction(1, 4))),
    "ones against zeros": (
        of_matrices(np.ones((7, 7)), np.zeros((7, 7))),
        {"ggw_sum": 7, "ggw_mean": 1} | dict.fromkeys((*PARTS[:6], "sorted", "cg", "two_opt", "exact"), 1),
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    problem, expected = VECTORS[name]
    document = solve(problem)
    for field, value in expected.items():
        assert flat(document)[field] == pytest.approx(float(value), abs=1e-9), field
    assert document["interval"] == pytest.approx([float(expected["exact"])] * 2, abs=1e-9)


def test_vector_of_indefinite_graphs() -> None:
    document = solve(of_matrices([[0, 1], [1, 0]], np.eye(2)))
    assert document["exact"] is None
    assert "indefinite" in document["why_null"]["exact"]
    assert document["upper"]["cg"] == pytest.approx(0.5, abs=1e-9)
    assert document["upper"]["two_opt"] == pytest.approx(1, abs=1e-9)
    assert document["interval"] == pytest.approx([0.5, 0.5], abs=1e-9)


def test_the_product_plan_of_rank_one() -> None:
    assert couplings.upper_bound(rank_one(), np.full((5, 5), 1 / 25)) == pytest.approx(0.1225, abs=1e-9)


@pytest.mark.parametrize("name", INSTALLED)
def test_every_solver_keeps_the_contract(name: str, check_solver: Callable[[Solver], int]) -> None:
    assert check_solver(SOLVERS[name]) > 0


@pytest.mark.parametrize("name", ["exact", "rlt", "sorted_two_opt", "restarts", "scipy_faq", "scipy_two_opt"])
def test_solvers_for_permutations_refuse_weights_and_unequal_sizes(name: str, weighted: Problem) -> None:
    with pytest.raises(NotApplicableError, match="uniform weights"):
        SOLVERS[name].run(weighted)


def test_every_other_field_takes_weights_and_unequal_sizes(weighted: Problem) -> None:
    assert set(solve(weighted)["why_null"]) == {"ggw_sum", "circulant", "rlt", "two_opt", "exact"}


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_describes_itself(name: str) -> None:
    solver = SOLVERS[name]
    assert min(len(text) for text in (solver.summary, solver.formula, solver.source)) > 10
    assert not solver.package or solver.package in EXTRAS


def brute_force(problem: Problem) -> float:
    c, d, _, _ = problem.arrays
    return min(np.square(c - d[np.ix_(s, s)]).mean() for s in map(list, permutations(range(problem.n))))


def drawn(seed: int) -> tuple[Problem, str]:
    """A random problem, and its kind."""
    rng = np.random.default_rng(seed)
    n, positions = int(rng.integers(1, 7)), rng.integers(1, 9, size=2)
    kind = ("psd", "signed psd", "rank-monotone", "unequal", "weights")[seed % 5]
    m = int(rng.integers(1, 7)) if kind in ("unequal", "weights") else n
    z, y = (rng.random((t, k)) * rng.choice([1e-3, 1, 50]) for t, k in zip(positions, (n, m), strict=True))
    if kind == "signed psd":
        z, y = z - z.mean(), y - y.mean()
    if kind == "rank-monotone" or (kind != "psd" and rng.random() < 0.3):
        z, y = (-np.sort(-np.abs(x), axis=1) for x in (z, y))
    p, q = rng.random(n) + 0.01, rng.random(m) + 0.01
    return of_matrices(z.T @ z, y.T @ y, *((p / p.sum(), q / q.sum()) if kind == "weights" else (None, None))), kind


def assert_certified(seed: int) -> str:
    """Checks that lower <= exact <= upper for all bounds on one random problem. Returns its kind."""
    problem, kind = drawn(seed)
    document = solve(problem)
    c, d, p, q = problem.arrays
    slack = 1e-10 * float(p @ c**2 @ p + q @ d**2 @ q)
    lower = [x for x in document["lower"].values() if x is not None]
    upper = [x for x in document["upper"].values() if x is not None]
    for name in ("flb", "anova", "slb", "proj", "tlb"):
        assert document["lower"][name] is not None
    exact = document["exact"]
    assert max(lower) <= min(upper) + slack
    if exact is not None:
        assert max(lower) <= exact + slack
        assert exact <= min(upper) + slack
        assert document["ggw_mean"] ** 2 <= exact + slack
    if kind in ("psd", "signed psd", "rank-monotone"):
        assert exact == pytest.approx(brute_force(problem), abs=slack)
    assert document["lower"]["flb"] <= document["lower"]["anova"] + slack
    assert document["lower"]["anova"] <= document["lower"]["proj"] + slack
    assert document["lower"]["slb"] <= document["lower"]["tlb"] + slack
    return kind


def test_certificates_on_40_random_instances() -> None:
    kinds = [assert_certified(seed) for seed in range(40)]
    assert len(set(kinds)) == 5


@pytest.mark.slow
def test_certificates_on_2000_random_instances() -> None:
    for seed in range(40, 2040):
        assert_certified(seed)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 30))
@settings(max_examples=10, deadline=None)
def test_scale_and_relabelling(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(4, 5)), rng.normal(size=(3, 5))
    one, other = solve(of_logits(z, y)), solve(of_logits(factor**0.5 * z, factor**0.5 * y[:, rng.permutation(5)]))
    for field in ("ggw_sum", "ggw_mean"):
        assert other[field] == pytest.approx(factor * one[field], rel=1e-9)
    for field in ("flb", "anova", "slb", "proj", "tlb", "exact", "sorted"):
        assert flat(other)[field] == pytest.approx(factor**2 * flat(one)[field], rel=1e-9, abs=1e-12)


def test_an_infeasible_plan_is_no_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug is a plan that puts all mass on one pair of nodes."""
    wrong = Pieces(torch.tensor([0]), torch.tensor([0]), torch.tensor([1.0], dtype=torch.float64))
    monkeypatch.setitem(SOLVERS, "sorted", replace(SOLVERS["sorted"], run=lambda _: Answer(coupling=wrong)))
    document = solve(integers())
    assert document["upper"]["sorted"] is None
    assert "marginals" in document["why_null"]["sorted"]
    assert document["interval"] == pytest.approx([0.8, 0.8])


def test_a_lower_bound_that_is_too_high_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOLVERS, "flb", replace(SOLVERS["flb"], run=lambda _: Answer(9.0)))
    with pytest.raises(RuntimeError, match="contradict"):
        solve(integers())


def test_rounding_makes_a_plan_feasible_and_leaves_a_feasible_one() -> None:
    problem, rng = residues(), np.random.default_rng(0)
    plan = couplings.rounded(problem, rng.random((6, 6)) * 0.2)
    assert couplings.marginal_error(problem, plan) <= 1e-15
    np.testing.assert_allclose(couplings.rounded(problem, plan), plan, atol=1e-16)
    assert couplings.marginal_error(problem, couplings.rounded(problem, np.zeros((6, 6)))) <= 1e-15
    with pytest.raises(couplings.InfeasibleError, match="marginals are off"):
        couplings.upper_bound(problem, plan + 1e-9)


def test_costs_of_pieces_and_of_dense_plans_agree() -> None:
    problem, rng = residues(), np.random.default_rng(0)
    plan = couplings.rounded(problem, rng.random((6, 6)))
    i, j = np.indices((6, 6)).reshape(2, -1)
    pieces = Pieces(torch.from_numpy(i), torch.from_numpy(j), torch.from_numpy(plan.ravel()))
    assert couplings.cost(problem, plan) == pytest.approx(couplings.cost(problem, pieces), rel=1e-12)


def test_zero_weights_drop_nodes_and_even_weights_are_uniform() -> None:
    c, d = integers().arrays[:2]
    grown = np.pad(c, ((0, 1), (0, 1)), constant_values=9.0)
    document = solve(of_matrices(grown, d, np.array([0.2] * 5 + [0.0]), np.full(5, 0.2)))
    assert (document["n"], document["exact"]) == (5, pytest.approx(0.8))


def test_what_was_not_asked_for_is_null_with_a_reason() -> None:
    document = solve(residues(), ["flb", "ggw", "scipy_faq"])
    assert document["why_null"]["exact"] == "not asked for"
    assert document["lower"]["tlb"] is None
    assert set(document["other"]) == {"scipy_faq"}
    assert document["interval"] == [document["lower"]["flb"], document["other"]["scipy_faq"]]


def test_large_graphs_skip_what_is_slow_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOLVERS, "tlb", replace(SOLVERS["tlb"], max_nodes=4))
    assert "by name" in solve(integers())["why_null"]["tlb"]
    assert solve(integers(), PARTS)["lower"]["tlb"] == pytest.approx(0.8)


def test_a_missing_package_is_an_input_error() -> None:
    if missing(SOLVERS["ott_jax"]):
        with pytest.raises(InputError, match=r"gldbench\[ott\]"):
            require(SOLVERS["ott_jax"], "ott_jax")


@pytest.mark.parametrize(
    ("matrix", "weights", "message"),
    [
        (np.ones((2, 3)), None, "square"),
        (np.array([[0, 1], [2, 0]]), None, "symmetric"),
        (np.array([[np.nan, 0], [0, 1]]), None, "NaN"),
        (np.eye(2) * 1j, None, "real numbers"),
        (np.eye(2), np.array([0.5, 0.6]), "sum 1"),
        (np.eye(2), np.array([1.5, -0.5]), "none negative"),
        (np.eye(2), np.array([1.0]), "2 numbers"),
        (np.ones((0, 0)), None, "square"),
    ],
)
def test_bad_graphs(matrix: Any, weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        graph_from_matrix(matrix, weights, "A")


def test_bad_names_and_logits() -> None:
    with pytest.raises(InputError, match='did you mean "anova"'):
        solver_names("flb, anva")
    with pytest.raises(InputError, match="T x k"):
        graph_from_logits(np.ones(3), "A")
    assert solver_names("all") == list(SOLVERS)


@pytest.mark.parametrize("seed", range(8))
def test_the_optimum_lies_in_its_interval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    document = solve(of_logits(rng.normal(size=(20, 6)), rng.normal(size=(20, 6))))
    low, high = document["interval"]
    assert max(x for x in document["lower"].values() if x is not None) <= low <= document["exact"] <= high
    assert document["search"]["lower"] <= document["search"]["upper"]


def refused(c: Any, d: Any, make: Callable[[Any, Any], Problem]) -> str:
    with pytest.raises(InputError) as error:
        solve(make(c, d))
    return str(error.value)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e-160, 1e160, 1e300])
def test_graphs_whose_squares_leave_float64_are_refused(scale: float) -> None:
    c, d = scale * np.ones((3, 3)), scale * np.eye(3)
    way = "up" if scale < 1 else "down"
    assert f"scale both graphs {way}" in refused(c, d, of_matrices)
    assert f"scale both graphs {way}" in refused(np.ones((3, 3)), d, of_matrices)
    assert f"scale both graphs {way}" in refused(c**0.5, d**0.5, of_logits)


@pytest.mark.parametrize("scale", [1e-130, 1e-60, 1e60, 1e130])
def test_the_bounds_of_graphs_of_unusual_size_are_right(scale: float) -> None:
    low, high = solve(of_matrices(scale * np.ones((3, 3)), scale / 2 * np.ones((3, 3))))["interval"]
    assert low <= high
    assert [low / scale**2, high / scale**2] == pytest.approx([0.25, 0.25], rel=1e-12)
    assert solve(of_matrices(np.zeros((3, 3)), np.zeros((3, 3))))["interval"] == [0, 0]


def test_all_solvers_skip_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(SOLVERS["ott_jax"], package="ott_that_is_absent")
    monkeypatch.setitem(EXTRAS, "ott_that_is_absent", "ott")
    monkeypatch.setitem(SOLVERS, "ott_jax", absent)
    document = solve(integers(), ["flb", "ott_jax"], skip_missing=True)
    assert "gldbench[ott]" in document["why_null"]["ott_jax"]
    assert document["other"] == {"ott_jax": None}
    with pytest.raises(InputError, match=r"gldbench\[ott\]"):
        solve(integers(), ["flb", "ott_jax"])
