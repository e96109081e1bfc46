"""Statistics over worlds, seeds and items: special cases with known answers, and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gldbench import stats
from gldbench.stats.power import (
    Spread,
    pairs_needed,
    power_of,
    smallest_detectable,
    spread_of_pairs,
)
from gldbench.stats.ranks import rank_stability
from gldbench.stats.worlds import bootstrap_worlds, components_of, effect_size, paired_worlds, resampled_means
from gldfusion.errors import InputError

Worlds = list[list[np.ndarray]]


def simulated(
    rng: np.random.Generator, worlds: int, seeds: int, *, tau: float, sigma: float, items: int = 40, mean: float = 0.0
) -> Worlds:
    """Differences with a known mean: worlds vary by tau, seeds by sigma, items by .3, and answers by .6."""
    made = []
    for _ in range(worlds):
        level = mean + rng.normal(0, tau) + rng.normal(0, sigma, (seeds, 1))
        made.append([level + rng.normal(0, 0.3, items) + rng.normal(0, 0.6, (seeds, items)) for _ in range(2)])
    return made


def test_one_world_is_the_bootstrap_over_seeds_and_items() -> None:
    (world,) = simulated(np.random.default_rng(0), 1, 5, tau=0.0, sigma=0.1)
    assert bootstrap_worlds([world], seed=3) == stats.bootstrap_mean(world, seed=3)
    first, second = ([a - 0.1 for a in world], world)
    assert paired_worlds("a", "b", [first], [second], seed=3).comparison.difference.value == pytest.approx(0.1)


def test_equal_worlds_and_seeds_and_items_give_an_interval_without_width() -> None:
    constant = [[np.full((3, 4), 0.25)], [np.full((3, 4), 0.25)]]
    estimate = bootstrap_worlds(constant, seed=0)
    assert (estimate.low, estimate.value, estimate.high) == (0.25, 0.25, 0.25)
    assert components_of(constant).total == 0


def test_components_by_hand() -> None:
    """Two worlds with the means 0 and 1, whose two seeds differ by .2 and whose items do not."""
    worlds = [[np.array([[0.1] * 3, [-0.1] * 3]) + level] for level in (0.0, 1.0)]
    found = components_of(worlds)
    within = 2 * (0.02 / 2) / 4  # variance of the seeds .02, of a mean of two .01, of a mean over two worlds .005
    assert found.seeds == pytest.approx(within)
    assert found.items == pytest.approx(0)
    assert found.worlds == pytest.approx(0.5 / 2 - within)
    assert (found.total, found.df) == (pytest.approx(0.25), 1)


def test_worlds_have_equal_weight_whatever_their_number_of_seeds() -> None:
    worlds = [[np.zeros((4, 5))], [np.ones((1, 5))]]
    assert bootstrap_worlds(worlds, seed=0).value == 0.5


@pytest.mark.parametrize(("worlds", "seeds", "tau"), [(3, 8, 0.0), (3, 8, 0.2), (5, 4, 0.1)])
def test_the_interval_covers_the_true_mean(worlds: int, seeds: int, tau: float) -> None:
    rng, runs = np.random.default_rng(11), 120
    inside = 0
    for number in range(runs):
        made = simulated(rng, worlds, seeds, tau=tau, sigma=0.05, mean=0.3)
        estimate = bootstrap_worlds(made, seed=number, resamples=300)
        inside += estimate.low <= 0.3 <= estimate.high
    assert inside / runs >= 0.9


def test_an_interval_over_seeds_alone_would_not_cover_worlds_that_differ() -> None:
    rng, runs = np.random.default_rng(12), 60
    pooled = hierarchical = 0
    for number in range(runs):
        made = simulated(rng, 3, 8, tau=0.3, sigma=0.05)
        one = stats.bootstrap_mean([np.concatenate([world[0] for world in made])], seed=number, resamples=300)
        pooled += one.low <= 0 <= one.high
        all_levels = bootstrap_worlds(made, seed=number, resamples=300)
        hierarchical += all_levels.low <= 0 <= all_levels.high
    assert pooled / runs < 0.6
    assert hierarchical / runs >= 0.9


def test_the_test_over_pairs_holds_its_level_and_finds_a_difference() -> None:
    rng, runs = np.random.default_rng(13), 150
    null = found = 0
    for number in range(runs):
        noise = simulated(rng, 2, 4, tau=0.0, sigma=0.1)
        zero = [[np.zeros_like(a) for a in world] for world in noise]
        p = paired_worlds("a", "b", zero, noise, seed=number, resamples=20).comparison.p
        shifted = [[a + 0.4 for a in world] for world in noise]
        q = paired_worlds("a", "b", zero, shifted, seed=number, resamples=20).comparison.p
        assert p is not None
        assert q is not None
        null += p < 0.05
        found += q < 0.05
    assert null / runs <= 0.1
    assert found / runs >= 0.9


def test_pairs_of_different_shape_are_refused() -> None:
    first = simulated(np.random.default_rng(0), 2, 3, tau=0, sigma=0.1)
    with pytest.raises(InputError, match="b and a must share worlds, families, seeds and items"):
        paired_worlds("a", "b", first, first[:1], seed=0)


def test_effect_size_is_the_difference_over_the_spread_between_seeds() -> None:
    base = [[np.array([[0.0], [0.2]])], [np.array([[1.0], [1.2]])]]  # deviation within worlds: sqrt(.02)
    better = [[array + 0.1 for array in world] for world in base]
    assert effect_size(base, better) == pytest.approx(0.1 / math.sqrt(0.02))
    assert effect_size([[np.zeros((1, 3))]], [[np.ones((1, 3))]]) is None


def test_methods_share_the_draws_of_a_resample() -> None:
    made = simulated(np.random.default_rng(1), 3, 4, tau=0.2, sigma=0.1)
    shifted = [[array + 0.25 for array in world] for world in made]
    first, second = resampled_means([made, shifted], seed=5, resamples=50)
    assert second - first == pytest.approx(0.25)


def test_rank_stability_of_a_clear_and_of_no_order() -> None:
    rng = np.random.default_rng(2)
    base = simulated(rng, 3, 4, tau=0.1, sigma=0.1)
    clear = {name: [[a + step for a in world] for world in base] for name, step in (("a", 0), ("b", 1), ("c", 2))}
    ranks = rank_stability(clear, seed=0, resamples=200)
    assert ranks.best == {"a": 0, "b": 0, "c": 1}
    assert ranks.tau == pytest.approx(1)
    equal = rank_stability({"a": base, "b": base}, seed=0, resamples=50)
    assert equal.best == {"a": 0.5, "b": 0.5}
    noise = {name: simulated(rng, 3, 4, tau=0.1, sigma=0.1) for name in "abc"}
    assert rank_stability(noise, seed=0, resamples=200).tau < 0.9


def test_eight_seeds_find_five_points_with_a_third_and_23_with_four_fifths() -> None:
    """The orientation of the protocol: 350 items, a spread of 5 points between seeds."""
    spread = spread_of_pairs(0.05, 350)
    assert spread == pytest.approx(0.0802, abs=1e-4)
    assert power_of(0.05, spread / math.sqrt(8), 7) == pytest.approx(0.33, abs=0.01)
    assert pairs_needed(0.05, spread) == 23


def test_the_power_formula_is_what_a_simulation_finds() -> None:
    rng, runs, pairs, spread, difference = np.random.default_rng(3), 4000, 8, 0.08, 0.1
    drawn = rng.normal(difference, spread, (runs, pairs))
    t = drawn.mean(axis=1) / (drawn.std(axis=1, ddof=1) / math.sqrt(pairs))
    found = float(np.mean(np.abs(t) > 2.3646))  # critical value of t with 7 degrees of freedom
    assert power_of(difference, spread / math.sqrt(pairs), pairs - 1) == pytest.approx(found, abs=0.025)


@pytest.mark.parametrize(("pairs", "spread"), [(8, 0.08), (24, 0.03), (3, 0.1)])
def test_the_smallest_detectable_difference_has_exactly_the_wanted_power(pairs: int, spread: float) -> None:
    error = spread / math.sqrt(pairs)
    found = smallest_detectable(error, pairs - 1)
    assert power_of(found, error, pairs - 1) == pytest.approx(0.8)
    assert smallest_detectable(0.0, 3) == 0


def test_the_error_of_a_difference_adds_pairs_worlds_and_items() -> None:
    assert Spread(0.08).error(16) == pytest.approx(0.02)
    assert Spread(0.08, worlds=0.03, items=0.04).error(16, worlds=4) == pytest.approx(math.hypot(0.02, 0.025))
