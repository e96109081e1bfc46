"""Statistics over items, compared with statsmodels and scipy, and in small coverage simulations."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from gldbench import stats
from gldbench.schema import Estimate
from gldfusion.errors import InputError


def clustered(
    rng: np.random.Generator, n_clusters: int, size: int, spread: float = 1.0
) -> tuple[np.ndarray, list[str]]:
    """0/1 scores with an effect per cluster; the clusters' true mean is 0.5."""
    sizes = rng.integers(1, 2 * size, n_clusters)
    p = 1 / (1 + np.exp(-rng.normal(0, spread, n_clusters)))
    index = np.repeat(np.arange(n_clusters), sizes)
    return (rng.random(len(index)) < p[index]).astype(float), [f"c{i}" for i in index]


def test_the_clustered_error_is_that_of_a_regression_on_a_constant() -> None:
    from statsmodels.regression.linear_model import OLS

    for seed in range(5):
        values, clusters = clustered(np.random.default_rng(seed), 12, 6)
        _, groups = np.unique(clusters, return_inverse=True)
        fit = OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": groups})
        assert stats.item_mean(values, clusters, seed=0).se == pytest.approx(float(fit.bse[0]), rel=1e-10)


def test_the_error_of_independent_items_is_scipys() -> None:
    values = np.random.default_rng(0).random(50)
    expected = scipy_stats.sem(values)
    assert stats.item_mean(values, [str(i) for i in range(50)], seed=0).se == pytest.approx(expected)
    # a single subtask is the whole population: its items are the units
    assert stats.item_mean(values, ["navigate"] * 50, seed=0).se == pytest.approx(expected)
    assert stats.item_mean(values[:1], ["a"], seed=0).se is None


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (7, 7), (13, 40), (399, 400)])
def test_independent_binary_items_have_wilsons_interval(successes: int, n: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    values = np.r_[np.ones(successes), np.zeros(n - successes)]
    found = stats.item_mean(values, [str(i) for i in range(n)], seed=0)
    low, high = proportion_confint(successes, n, method="wilson")
    assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high), abs=1e-12)
    assert found.estimate == stats.wilson(successes, n)
    assert not found.clustered


def test_clusters_widen_the_interval() -> None:
    """Ten copies of each item are no more evidence than one; ignoring the clusters (the planted bug) would think so."""
    values = (np.random.default_rng(1).random(80) < 0.5).astype(float)
    names = [str(i) for i in range(80)]
    once = stats.item_mean(values, names, seed=0).estimate
    copies = stats.item_mean(np.repeat(values, 10), list(np.repeat(names, 10)), seed=0)
    ignored = stats.wilson(int(values.sum()) * 10, 800)
    assert copies.estimate.method == "cluster bootstrap over 80 clusters of 800 items, t-stretched"
    assert (copies.n_units, copies.clustered) == (80, True)
    assert copies.estimate.high - copies.estimate.low == pytest.approx(once.high - once.low, rel=0.1)
    assert ignored.high - ignored.low < (once.high - once.low) / 2


def test_graded_scores_have_scipys_bootstrap() -> None:
    values = np.random.default_rng(3).beta(0.5, 0.5, 400)
    ours = stats.item_mean(values, [str(i) for i in range(400)], seed=1, resamples=4000).estimate
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.method == "bootstrap over 400 items, t-stretched"
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=3e-3)


def test_the_bootstrap_is_as_wide_as_t_times_the_clustered_error() -> None:
    values, clusters = clustered(np.random.default_rng(5), 60, 8)
    found = stats.item_mean(values, clusters, seed=0, resamples=20_000)
    assert found.se is not None
    half = scipy_stats.t.ppf(0.975, 59) * found.se
    assert (found.estimate.high - found.estimate.low) / 2 == pytest.approx(half, rel=0.05)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abcd")), min_size=1, max_size=12),
    st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_intervals_hold_their_mean_and_keep_to_the_bounds(scored: list[tuple[float, str]], seed: int) -> None:
    values = np.array([value for value, _ in scored])
    found = stats.item_mean(values, [name for _, name in scored], seed=seed, resamples=200).estimate
    assert 0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1


def test_equal_scores_are_not_certain() -> None:
    zeros = stats.item_mean(np.zeros(30), list("abc") * 10, seed=0)
    assert zeros.estimate.low == 0
    assert zeros.estimate.high == pytest.approx(stats.wilson(0, 3).high)  # three clusters, not thirty items
    assert zeros.se == 0
    same = stats.item_mean(np.zeros(20), [str(i) for i in range(20)], seed=0, bounds=(-1.0, 1.0)).estimate
    assert (same.low, same.high) == pytest.approx((-stats.wilson(0, 20).high, stats.wilson(0, 20).high))
    alone = stats.item_mean(np.array([0.5]), ["a"], seed=0)
    assert alone.se is None
    assert alone.estimate.low < 0.2 < 0.8 < alone.estimate.high


def test_clusters_with_equal_means_are_not_certain_either() -> None:
    """Half of each cluster is right: the clustered error and the bootstrap over clusters (the planted bug) are 0."""
    values, clusters = np.repeat([0.0, 1.0], 6), list("aabbcc") * 2
    found = stats.item_mean(values, clusters, seed=0)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(
        (stats.wilson(6, 12).low, stats.wilson(6, 12).high)
    )
    assert found.se == pytest.approx(scipy_stats.sem(values))
    assert found.estimate.method.endswith("the means of their clusters are all equal")
    assert (found.n_units, found.clustered) == (3, True)
    graded = stats.item_mean(values * 0.4 + 0.2, clusters, seed=0).estimate
    assert graded.low < graded.value - 0.05 < graded.value + 0.05 < graded.high
    difference = stats.paired_items(values, 1 - values, clusters, seed=0)
    assert difference.mean.estimate.low < 0 < difference.mean.estimate.high
    assert difference.test == "sign-flip over 3 clusters"


@pytest.mark.parametrize("n", [1, 2, 5, 20])
@pytest.mark.parametrize("score", [0.0, 1.0, 0.5])
def test_few_equal_items_are_not_certain(n: int, score: float) -> None:
    for clusters in ([str(i) for i in range(n)], ["one"] * n, [str(i % 2) for i in range(n)]):
        found = stats.item_mean(np.full(n, score), clusters, seed=0).estimate
        assert found.high - found.low > 0.1
        assert found.low <= score <= found.high


def coverage(n_clusters: int, size: int, worlds: int = 400, *, ignore: bool = False) -> float:
    """How often the interval holds the true mean 0.5, clusters and items drawn anew each time."""
    rng, hits = np.random.default_rng(n_clusters), 0
    for world in range(worlds):
        values, clusters = clustered(rng, n_clusters, size)
        if ignore:
            clusters = [str(i) for i in range(len(values))]
        estimate = stats.item_mean(values, clusters, seed=world, resamples=400).estimate
        hits += estimate.low <= 0.5 <= estimate.high
    return hits / worlds


def test_coverage_of_the_cluster_bootstrap() -> None:
    assert coverage(8, 10) >= 0.92
    assert coverage(57, 20) >= 0.92
    assert coverage(57, 20, ignore=True) < 0.75


def test_coverage_of_a_mean_over_fixed_subtasks() -> None:
    rng, hits, worlds = np.random.default_rng(8), 0, 400
    p = np.linspace(0.02, 0.98, 27)
    for _ in range(worlds):
        estimate = stats.macro_mean([stats.wilson(int(k), 25) for k in rng.binomial(25, p)])
        hits += estimate.low <= 0.5 <= estimate.high
    assert 0.93 <= hits / worlds <= 0.99


def test_the_mean_of_one_is_itself_and_of_equals_narrows() -> None:
    part = stats.wilson(13, 40)
    one, four = stats.macro_mean([part]), stats.macro_mean([part] * 4)
    assert (one.value, one.low, one.high) == pytest.approx((part.value, part.low, part.high))
    assert (four.high - four.low) == pytest.approx((part.high - part.low) / 2)
    assert stats.macro_mean([Estimate(0.2, 0.2, 0.2, 9, ""), Estimate(0.4, 0.4, 0.4, 1, "")]).value == pytest.approx(
        0.3
    )
    with pytest.raises(InputError, match="at least one"):
        stats.macro_mean([])


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_statsmodels(only_first: int, only_second: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    expected = 1.0
    if only_first + only_second:
        found = cast("Any", mcnemar([[5, only_first], [only_second, 9]], exact=True))
        expected = float(found.pvalue)
    assert stats.mcnemar_p(only_first, only_second) == pytest.approx(expected, abs=1e-12)


def test_holm_is_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(4)
    for p_values in ([0.03], [0.0, 1.0, 0.5, 0.5], rng.random(11), 0.05 * rng.random(11), rng.random(3).round(1)):
        adjusted: Any = multipletests(p_values, method="holm")[1]
        assert stats.holm(list(p_values)) == pytest.approx(list(adjusted), abs=1e-12)


def test_sampled_signs_agree_with_the_enumeration_and_with_scipy() -> None:
    rng = np.random.default_rng(6)
    few = rng.normal(0.4, 1, 15)
    assert stats.sampled_sign_flip_p(np.r_[few, np.zeros(100)], seed=0) == stats.sign_flip_p(few)
    many = rng.normal(0.15, 1, 120)
    theirs = scipy_stats.permutation_test(
        (many,), np.mean, permutation_type="samples", n_resamples=19_999, rng=np.random.default_rng(1)
    )
    assert stats.sampled_sign_flip_p(many, seed=0) == pytest.approx(cast("Any", theirs).pvalue, abs=0.01)
    # coins of equal size share a draw: on 0/1 scores the test is McNemar's
    coins = np.r_[np.ones(40), -np.ones(22)]
    assert stats.sampled_sign_flip_p(coins, seed=0) == pytest.approx(stats.mcnemar_p(22, 40), abs=0.005)
    assert stats.sampled_sign_flip_p(np.zeros(9), seed=0) == 1.0
    assert stats.sampled_sign_flip_p(np.ones(200), seed=0) == pytest.approx(1 / 20_000)


def test_pairs_choose_their_test() -> None:
    rng = np.random.default_rng(2)
    first, second = ((rng.random(60) < p).astype(float) for p in (0.3, 0.6))
    own, passages = [str(i) for i in range(60)], [str(i // 5) for i in range(60)]
    lost, won = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    alone = stats.paired_items(first, second, own, seed=0)
    assert (alone.test, alone.n_discordant, alone.p_clustered) == ("exact McNemar", lost + won, None)
    assert alone.p == stats.mcnemar_p(lost, won)
    strata = stats.paired_items(first, second, passages, seed=0, fixed_clusters=True)
    assert (strata.test, strata.p) == ("exact McNemar", alone.p)
    shared = stats.paired_items(first, second, passages, seed=0)
    assert shared.test == "sign-flip over 12 clusters"
    assert shared.p == shared.p_clustered == strata.p_clustered
    assert shared.mean.clustered
    graded = stats.paired_items(first * 0.7, second, own, seed=0)
    assert graded.test == "sign-flip over 60 items"
    assert (graded.first, graded.second) == pytest.approx((first.mean() * 0.7, second.mean()))
    for found in (alone, strata, shared, graded):
        assert found.mean.estimate.value == pytest.approx(found.second - found.first)


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(9)
    first = (rng.random(300) < 0.5).astype(float)
    second = np.where(rng.random(300) < 0.05, 1.0, first)
    own = [str(i) for i in range(300)]
    paired = stats.paired_items(first, second, own, seed=0).mean.estimate
    alone = stats.item_mean(second, own, seed=0).estimate
    assert paired.high - paired.low < (alone.high - alone.low) / 2
    assert 0 < paired.low < paired.value < paired.high


def test_a_passage_that_all_depends_on_is_one_discordant_case() -> None:
    """B wins every question of one passage: McNemar's test (the planted bug) would call that significant."""
    first, second = np.zeros(100), np.r_[np.ones(20), np.zeros(80)]
    passages = [str(i // 20) for i in range(100)]
    found = stats.paired_items(first, second, passages, seed=0)
    assert found.p == 1.0
    assert found.mean.estimate.low <= 0
    assert stats.mcnemar_p(0, 20) < 1e-5


def false_alarms(worlds: int = 300) -> float:
    rng, alarms = np.random.default_rng(12), 0
    for world in range(worlds):
        effect = np.repeat(rng.normal(0, 0.25, 12), 8)
        first = np.clip(rng.random(96) + effect / 2, 0, 1)
        second = np.clip(rng.random(96) - effect / 2, 0, 1)
        alarms += stats.paired_items(first, second, [str(i // 8) for i in range(96)], seed=world, resamples=2).p <= 0.05
    return alarms / worlds


def test_the_cluster_test_keeps_its_level() -> None:
    assert false_alarms() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        (np.zeros(0), [], "one score and one cluster"),
        (np.zeros(3), ["a"], "one score and one cluster"),
        (np.array([1.0, np.nan]), ["a", "b"], "missing values"),
    ],
)
def test_bad_scores_are_refused(values: np.ndarray, clusters: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        stats.item_mean(values, clusters, seed=0)
    with pytest.raises(InputError, match="same items"):
        stats.paired_items(np.zeros(3), np.zeros(4), list("abcd"), seed=0)
