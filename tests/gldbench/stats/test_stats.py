"""Statistics over seeds, compared with scipy and brute force, and in a small coverage simulation."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from gldbench import stats
from gldbench.schema import Estimate
from gldbench.stats.seeds import _stretch
from gldfusion.errors import InputError


def binary(rng: np.random.Generator, seeds: int, items: int, p: float = 0.4) -> np.ndarray:
    return (rng.random((seeds, items)) < p).astype(float)


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (1, 7), (7, 7), (13, 40), (399, 400)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_is_scipys(successes: int, n: int, confidence: float) -> None:
    ours = stats.wilson(successes, n, confidence)
    theirs = scipy_stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.value == successes / n
    assert ours.n == n


@given(st.lists(st.integers(-32, 32).map(lambda i: i / 32), min_size=1, max_size=7))  # sums are exact: ties are ties
@settings(max_examples=60, deadline=None)
def test_sign_flip_is_the_enumeration(differences: list[float]) -> None:
    d = np.array(differences)
    signs = np.array(list(itertools.product([1, -1], repeat=len(d))))
    expected = np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-12)
    assert stats.sign_flip_p(differences) == pytest.approx(expected)


def test_sign_flip_is_scipys_permutation_test() -> None:
    d = np.random.default_rng(4).normal(0.3, 1, 9)
    theirs = scipy_stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=2**9)
    assert stats.sign_flip_p(d) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("n", [3, 5, 6, 8])
def test_sign_flip_minimum(n: int) -> None:
    assert stats.sign_flip_p([0.1] * n) == 2.0 ** (1 - n)


def test_sign_flip_refuses_more_than_it_enumerates() -> None:
    with pytest.raises(InputError, match="1 to 20 finite differences"):
        stats.sign_flip_p([0.1] * 21)


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04 with factors 4 3 2 1: .04, .06, .06 (monotone), .06 (monotone).
    assert stats.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert stats.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert stats.holm([]) == []
    with pytest.raises(InputError, match="p-values"):
        stats.holm([1.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    alpha, rejected = 0.05, set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] * (len(p_values) - rank) > alpha:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected


def test_chance_correction() -> None:
    assert stats.chance_corrected(0.5, 0.5) == 0
    assert stats.chance_corrected(1.0, 0.5) == 1
    assert stats.chance_corrected(0.25, 0.5) == -0.5
    corrected = stats.correct_estimate(Estimate(0.75, 0.5, 1.0, 8, "m"), 0.5)
    assert corrected == Estimate(0.5, 0.0, 1.0, 8, "m")
    with pytest.raises(InputError, match="chance level"):
        stats.chance_corrected(1.0, 1.0)


def test_bootstrap_is_deterministic_and_names_itself() -> None:
    strata = [binary(np.random.default_rng(0), 3, 20), binary(np.random.default_rng(1), 3, 30)]
    first, second = stats.bootstrap_mean(strata, seed=5), stats.bootstrap_mean(strata, seed=5)
    assert first == second
    assert first != stats.bootstrap_mean(strata, seed=6)
    assert first.n == 50
    assert first.method == "hierarchical bootstrap over 3 seeds and 50 items, t-stretched"
    assert "one checkpoint" in stats.bootstrap_mean([strata[0][:1]], seed=5).method


def test_a_family_counts_once_whatever_its_size() -> None:
    estimate = stats.bootstrap_mean([np.ones((3, 10)), np.zeros((3, 90))], seed=0)
    assert estimate.value == 0.5


def test_bootstrap_of_one_seed_is_scipys() -> None:
    """With one seed and no t-stretch to speak of (400 items), ours is the ordinary percentile bootstrap."""
    data = np.random.default_rng(3).random((1, 400))
    ours = stats.bootstrap_mean([data], seed=1, resamples=4000)
    theirs = scipy_stats.bootstrap(
        (data[0],), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-3)


def test_seeds_are_not_pooled_as_items() -> None:
    """Seeds that differ widen the interval; pooling them as items (the planted bug) would not notice."""
    rng = np.random.default_rng(7)
    alike = np.tile(binary(rng, 1, 200), (3, 1))
    apart = np.stack([np.zeros(200), binary(rng, 1, 200, 0.5)[0], np.ones(200)])
    wide, narrow = stats.bootstrap_mean([apart], seed=0), stats.bootstrap_mean([alike], seed=0)
    pooled = stats.bootstrap_mean([apart.reshape(1, -1)], seed=0)
    assert wide.high - wide.low > 1.0
    assert pooled.high - pooled.low < 0.1
    # Three copies of one seed are no more evidence than one seed.
    single = stats.bootstrap_mean([alike[:1]], seed=0)
    assert narrow.high - narrow.low == pytest.approx(single.high - single.low, rel=0.1)


def simulated_coverage(n_seeds: int, seed_sd: float, percentile: bool, worlds: int = 250) -> float:
    """How often the interval holds the true mean, with item difficulties and seed effects drawn anew each time."""
    rng, hits = np.random.default_rng(11), 0
    for world in range(worlds):
        strata, seed_effects = [], rng.normal(0, seed_sd, n_seeds)
        for family_mean in (0.3, 0.5, 0.7):
            difficulty = rng.beta(2 * family_mean, 2 * (1 - family_mean), 40)
            p = np.clip(difficulty + seed_effects[:, None], 0, 1)
            strata.append((rng.random(p.shape) < p).astype(float))
        estimate = stats.bootstrap_mean(strata, seed=world, resamples=300)
        low, high = estimate.low, estimate.high
        if percentile:
            stretch = _stretch(strata, stats.CONFIDENCE)
            low, high = (estimate.value + (end - estimate.value) / stretch for end in (low, high))
        hits += low <= 0.5 <= high
    return hits / worlds


def test_coverage_with_three_seeds() -> None:
    assert simulated_coverage(3, 0.0, percentile=False) >= 0.93
    stretched = simulated_coverage(3, 0.1, percentile=False)
    assert stretched >= 0.88
    assert simulated_coverage(3, 0.1, percentile=True) < stretched - 0.03


def test_binary_mean_chooses_its_interval() -> None:
    rng = np.random.default_rng(2)
    several, one = binary(rng, 3, 40), binary(rng, 1, 40)
    assert "hierarchical" in stats.binary_mean(several, seed=0).method
    assert stats.binary_mean(one, seed=0) == stats.wilson(int(one.sum()), 40)
    perfect = stats.binary_mean(np.ones((3, 40)), seed=0)
    assert perfect == stats.wilson(40, 40)
    assert perfect.low < 1.0
    with pytest.raises(InputError, match="0 or 1"):
        stats.binary_mean(several / 2, seed=0)


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(9)
    difficulty = rng.random((1, 300)) < 0.5
    base = np.where(rng.random((4, 300)) < 0.05, ~difficulty, difficulty).astype(float)
    better = np.where(rng.random((4, 300)) < 0.05, 1.0, base)
    paired = stats.paired_difference("sft", "x", [base], [better], seed=0).comparison.difference
    alone = stats.bootstrap_mean([better], seed=0)
    assert paired.value == pytest.approx(float((better - base).mean()))
    assert paired.high - paired.low < (alone.high - alone.low) / 2
    assert paired.low > 0


def test_paired_difference_states_why_there_is_no_p() -> None:
    rng = np.random.default_rng(1)
    few = stats.paired_difference("a", "b", [binary(rng, 3, 20)], [binary(rng, 3, 20)], seed=0)
    assert few.comparison.p is None
    assert few.reason == "3 paired seeds: a sign-flip test cannot give a p below 0.25"
    assert "0.0625" in stats.too_few_seeds(5)
    a, b = binary(rng, 6, 20, 0.2), binary(rng, 6, 20, 0.9)
    enough = stats.paired_difference("a", "b", [a], [b], seed=0)
    assert enough.reason == ""
    assert enough.comparison.p == pytest.approx(2.0**-5)
    assert (enough.comparison.baseline, enough.comparison.candidate, enough.n_seeds) == ("a", "b", 6)


@pytest.mark.parametrize(
    ("strata", "message"),
    [
        ([], "seeds, items"),
        ([np.zeros((3, 0))], "seeds, items"),
        ([np.zeros((3, 2)), np.zeros((2, 2))], "same seeds"),
        ([np.array([[1.0, np.nan]])], "missing values"),
    ],
)
def test_bad_strata_are_refused(strata: list[np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        stats.bootstrap_mean(strata, seed=0)


def test_unpaired_items_are_refused() -> None:
    with pytest.raises(InputError, match="share seeds and items"):
        stats.paired_difference("a", "b", [np.zeros((3, 4))], [np.zeros((3, 5))], seed=0)


def test_report_and_stats_load_without_torch() -> None:
    code = (
        "import sys, gldbench.report, gldbench.stats; "
        "print([m for m in ('torch', 'transformers', 'lm_eval') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
