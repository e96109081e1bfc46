"""Compares methods: differences on the same worlds, seeds and items, with what the run could have found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gldbench import stats
from gldbench.report import names
from gldbench.report.ranges import RAW, difference_bounds, inside
from gldbench.report.scores import Scores
from gldbench.schema import Estimate
from gldbench.stats.power import smallest_detectable
from gldbench.stats.ranks import Ranks, rank_stability
from gldbench.stats.worlds import (
    bootstrap_worlds,
    components_of,
    effect_size,
    pair_means,
    paired_strata,
    paired_worlds,
)

BOOTSTRAP_SEED = 13893
"""fixed, so that equal rows give equal reports"""

Pair = tuple[str, str]
"""(candidate, baseline)"""


@dataclass(frozen=True)
class Finding:
    """A primary comparison, with its size and the size that the run could find."""

    difference: stats.PairedDifference
    effect: float | None
    """difference over the pooled spread between seeds; None if seeds do not differ"""
    detectable: float | None
    """smallest true difference that the run finds with a probability of .8; None with one pair of a world and a seed"""


@dataclass(frozen=True)
class Variances:
    """Standard deviations of the score of sft, by where they come from. None: not measured."""

    world: float | None
    """between worlds"""
    sample: float | None
    """between samples of the fusion set, in one world"""
    order: float | None
    """between orders of the same sample, in one world"""
    both: float | None
    """between seeds, which draw a sample and an order"""


def corrected(
    scores: Scores,
    method: str,
    families: Sequence[str],
    chance: Mapping[str, float],
    seeds: Mapping[int, Sequence[int]],
) -> list[list[np.ndarray]]:
    """Chance-corrected scores: for each world one array [seeds, items] per family.

    Args:
        scores: the scores.
        method: one of its methods.
        families: the families.
        chance: their chance levels.
        seeds: the seeds of each world.
    """
    chosen = []
    for world, numbers in seeds.items():
        places = [scores.seeds[method][world].index(seed) for seed in numbers]
        own = [(scores.matrices[family][method][world][places], chance[family]) for family in families]
        chosen.append([(values - level) / (1 - level) for values, level in own])
    return chosen


def family_mean(arrays: Sequence[np.ndarray]) -> Estimate:
    """The mean of the 0/1 scores of one family.

    Args:
        arrays: [seeds, items] for each world.
    """
    if len(arrays) == 1:
        return stats.binary_mean(arrays[0], seed=BOOTSTRAP_SEED)
    if min(a.min() for a in arrays) == max(a.max() for a in arrays):  # a bootstrap interval would have no width
        ones = int(sum(array[0].sum() for array in arrays))
        return stats.wilson(ones, sum(array.shape[1] for array in arrays))
    return inside(bootstrap_worlds([[array] for array in arrays], seed=BOOTSTRAP_SEED), RAW)


def shared_seeds(scores: Scores, methods: Iterable[str]) -> dict[int, list[int]]:
    """world -> the seeds that all of these methods have there; worlds without any are left out."""
    wanted = [scores.seeds.get(method, {}) for method in methods]
    first = wanted[0] if wanted else {}
    shared = {
        world: [s for s in own if all(s in other.get(world, ()) for other in wanted)] for world, own in first.items()
    }
    return {world: own for world, own in shared.items() if own}


def differences(
    scores: Scores, kept: Sequence[str], chance: Mapping[str, float], pairs: Iterable[Pair]
) -> list[stats.PairedDifference]:
    """candidate - baseline over the kept families, for each pair that has a world and a seed in common."""
    result = []
    for candidate, baseline in pairs:
        sides = _sides(scores, kept, chance, (candidate, baseline))
        if sides is None:
            continue
        found = paired_worlds(baseline, candidate, sides[1], sides[0], seed=BOOTSTRAP_SEED)
        bounds = difference_bounds([chance[family] for family in kept])
        difference = inside(found.comparison.difference, bounds)
        result.append(replace(found, comparison=replace(found.comparison, difference=difference)))
    return result


def findings(
    scores: Scores, kept: Sequence[str], chance: Mapping[str, float], pairs: Iterable[Pair]
) -> tuple[Finding, ...]:
    """The primary comparisons, with p-values adjusted for all of them."""
    made, details = [], []
    for pair in pairs:
        sides = _sides(scores, kept, chance, pair)
        if sides is None:
            continue
        made += differences(scores, kept, chance, [pair])
        strata = paired_strata(pair[1], pair[0], sides[1], sides[0])
        components, n_pairs = components_of(strata), len(pair_means(strata))
        freedom = min(components.df, n_pairs - 1)
        detectable = smallest_detectable(components.total**0.5, freedom) if n_pairs > 1 else None
        details.append((effect_size(sides[1], sides[0]), detectable))
    adjusted = holm(made)
    return tuple(Finding(d, effect, detectable) for d, (effect, detectable) in zip(adjusted, details, strict=True))


def holm(found: Sequence[stats.PairedDifference]) -> list[stats.PairedDifference]:
    """Adjusts p over all differences that have one."""
    tested = [d.comparison.p for d in found if d.comparison.p is not None]
    adjusted = iter(stats.holm(tested))
    label = f"Holm over {len(tested)}"
    return [
        replace(d, comparison=replace(d.comparison, p=next(adjusted), correction=label))
        if d.comparison.p is not None
        else d
        for d in found
    ]


def ranks(scores: Scores, kept: Sequence[str], chance: Mapping[str, float], methods: Sequence[str]) -> Ranks | None:
    """How stable the ranking of these methods is; None if fewer than two share a world and a seed."""
    seeds = shared_seeds(scores, methods)
    if len(methods) < 2 or not seeds or not kept:
        return None
    strata = {method: corrected(scores, method, kept, chance, seeds) for method in methods}
    return rank_stability(strata, seed=BOOTSTRAP_SEED)


def variances(scores: Scores, kept: Sequence[str], chance: Mapping[str, float], order: str | None) -> Variances:
    """Where the score of sft varies.

    Args:
        scores: the scores in all compared worlds.
        kept: the compared families.
        chance: their chance levels.
        order: a method that is sft with one fixed sample; its seeds vary the order only. None: there is none.
    """
    both, own_order = seed_variance(scores, kept, chance, names.BASELINE), None
    if order is not None:
        own_order = seed_variance(scores, kept, chance, order)
    world = None
    seeds = shared_seeds(scores, [names.BASELINE])
    if len(seeds) > 1 and kept:
        strata = corrected(scores, names.BASELINE, kept, chance, seeds)
        world = (components_of(strata).worlds * len(strata)) ** 0.5
    sample = None if both is None or own_order is None else max(0.0, both - own_order) ** 0.5
    return Variances(
        world=world,
        sample=sample,
        order=None if own_order is None else own_order**0.5,
        both=None if both is None else both**0.5,
    )


def seed_variance(scores: Scores, kept: Sequence[str], chance: Mapping[str, float], method: str) -> float | None:
    """The variance of a method's mean over the seeds of one world, pooled over worlds; None: no world has two seeds."""
    squares, degrees = 0.0, 0
    seeds = shared_seeds(scores, [method])
    for strata in corrected(scores, method, kept, chance, seeds) if kept else []:
        means = np.mean([array.mean(axis=1) for array in strata], axis=0)
        squares += float(((means - means.mean()) ** 2).sum())
        degrees += len(means) - 1
    return squares / degrees if degrees else None


def _sides(
    scores: Scores, kept: Sequence[str], chance: Mapping[str, float], pair: Pair
) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]]] | None:
    """The scores of both methods of a pair on what they share; None if there is nothing to compare."""
    seeds = shared_seeds(scores, pair)
    if pair[0] == pair[1] or not seeds or not kept:
        return None
    first, second = (corrected(scores, method, kept, chance, seeds) for method in pair)
    return first, second
