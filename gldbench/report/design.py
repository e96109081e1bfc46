"""What a comparison can find: the power of its worlds and seeds, from the spread of scores on the validation set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gldbench.report.scores import headline_rows, mean_scores
from gldbench.schema import Row
from gldbench.stats.power import (
    POWER,
    Spread,
    pairs_needed,
    power_of,
    smallest_detectable,
    spread_of_pairs,
)

STATED_SPREAD = 0.05
"""spread of a score between seeds that is assumed where nothing was measured"""


@dataclass(frozen=True)
class Power:
    """What a comparison of two methods can find."""

    seed_spread: float
    """standard deviation of the score of one method over the seeds of a world"""
    world_spread: float
    """standard deviation of a difference over worlds, beyond what seeds explain"""
    measured: bool
    """whether the spreads were measured on the validation set, or assumed"""
    pairs: int
    worlds: int
    difference: float
    """the true difference that `power` and `needed` are about"""
    power: float
    """probability to find it with the pairs and worlds of the spec"""
    needed: int
    """pairs that find it with the probability `stats.power.POWER`, if worlds do not differ"""
    detectable: float
    """smallest true difference that is found with this probability with the pairs and worlds of the spec"""


def power_of_design(
    pairs: int, worlds: int, items: int, rows: Sequence[Row], chance: Mapping[str, float], difference: float = 0.05
) -> Power:
    """The power of a comparison.

    Args:
        pairs: number of pairs of a world and a seed.
        worlds: number of worlds.
        items: number of test items of one world.
        rows: rows of trials on the validation set; none: a spread of `STATED_SPREAD` between seeds is assumed.
        chance: chance level of each task.
        difference: the true difference to find.
    """
    found = _spreads(rows, chance)
    seeds, between = found or (STATED_SPREAD, 0.0)
    spread = Spread(spread_of_pairs(seeds, items), between)
    error = spread.error(pairs, worlds)
    freedom = worlds - 1 if between > 0 and worlds > 1 else pairs - 1
    known = freedom >= 1
    return Power(
        seed_spread=seeds,
        world_spread=between,
        measured=found is not None,
        pairs=pairs,
        worlds=worlds,
        difference=difference,
        power=power_of(difference, error, freedom) if known else 0.0,
        needed=pairs_needed(difference, spread.pairs),
        detectable=smallest_detectable(error, freedom) if known else float("inf"),
    )


def sentences(power: Power) -> list[str]:
    """The power in words."""
    points = f"{100 * power.difference:g} points"
    source = "measured on the validation set" if power.measured else "assumed, because there are no trials yet"
    worlds = "one world" if power.worlds == 1 else f"{power.worlds} worlds"
    found = (
        f"The {power.pairs} pairs of a world and a seed in {worlds} find a true difference of {points} with a "
        f"probability of {power.power:.2f}; the smallest difference that they find with a probability of {POWER:g} is "
        f"{100 * power.detectable:.1f} points."
    )
    return [
        f"Spread of a score between seeds: {100 * power.seed_spread:.1f} points ({source}). Spread of a difference "
        f"between worlds: {100 * power.world_spread:.1f} points.",
        found if power.pairs > 1 else "One pair of a world and a seed cannot show any difference.",
        f"{power.needed} pairs find {points} with a probability of {POWER:g}, if worlds do not differ.",
    ]


def _spreads(rows: Sequence[Row], chance: Mapping[str, float]) -> tuple[float, float] | None:
    """Spreads between seeds and between worlds, pooled over all trials; None if no trial has two seeds in a world.

    The noise of the validation items is taken off the first, because the test has other items. The second is about the
    difference of a trial to the mean of all trials in the same world.
    """
    scores: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    graded = [row for row in headline_rows(rows, "validation") if row.method.startswith("sft")]
    for (method, world, _), score in mean_scores(graded, "validation", chance).items():
        scores[method][world].append(score)
    groups = [np.array(own) for worlds in scores.values() for own in worlds.values() if len(own) > 1]
    if not groups:
        return None
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / sum(len(g) - 1 for g in groups)
    counts = defaultdict(set)
    for row in graded:
        counts[row.world_seed].add((row.task, row.item))
    items = float(np.mean([len(own) for own in counts.values()]))
    level = float(np.mean([row.value for row in graded if row.value is not None]))
    seeds = max(0.0, within - level * (1 - level) / items)
    return seeds**0.5, _between(scores, within)


def _between(scores: Mapping[str, Mapping[int, Sequence[float]]], within: float) -> float:
    worlds = sorted({world for own in scores.values() for world in own})
    whole = [own for own in scores.values() if set(own) == set(worlds)]
    if len(worlds) < 2 or len(whole) < 2:
        return 0.0
    means = np.array([[np.mean(own[world]) for world in worlds] for own in whole])  # [trials, worlds]
    effects = means - means.mean(axis=0)
    seeds = np.mean([len(own[world]) for own in whole for world in worlds])
    variance = float(effects.var(axis=1, ddof=1).mean()) * len(whole) / (len(whole) - 1) - within / float(seeds)
    return max(0.0, 2 * variance) ** 0.5  # a difference of two methods has twice the variance of one effect
