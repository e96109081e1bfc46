"""Scores that vary over worlds, over the seeds of training runs within a world, and over the items of a world.

The scores of one world are strata, as in `stats.seeds`: one array [seeds, items] per task family. The seeds and the
items of two worlds have nothing in common, even if they have the same numbers. Every world has equal weight. With one
world everything here is what `stats.seeds` computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gldbench.schema import Comparison, Estimate
from gldbench.stats.intervals import CONFIDENCE, RESAMPLES
from gldbench.stats.seeds import (
    PairedDifference,
    Strata,
    bootstrap_mean,
    checked,
    resample_weights,
    too_few_seeds,
)
from gldbench.stats.significance import sampled_sign_flip_p
from gldfusion.errors import InputError


@dataclass(frozen=True)
class Components:
    """The variance of a mean over worlds, by where it comes from."""

    worlds: float
    """from the difference between worlds, beyond what seeds and items explain; 0 with one world"""
    seeds: float
    """from the seeds of the trainings"""
    items: float
    """from the choice of the items"""
    df: float
    """degrees of freedom of the sum: W - 1 if worlds contribute to it, else by Satterthwaite's formula for seeds and
    items"""

    @property
    def total(self) -> float:
        """The variance of the mean."""
        return self.worlds + self.seeds + self.items


def components_of(worlds: Sequence[Strata]) -> Components:
    """Splits the variance of the mean over worlds.

    The means of W worlds have the variance s^2 between them. With v_w the variance of the mean of world w from its
    seeds and its items, the part of the worlds is max(0, s^2 - mean(v_w)) / W, and the other parts are mean(v_w) / W.
    Their sum is the larger of the two estimates s^2 / W and mean(v_w) / W.

    Args:
        worlds: the strata of each world.
    """
    arrays = [checked(strata) for strata in worlds]
    n_worlds = len(arrays)
    seed_parts: list[tuple[float, int]] = []
    item_parts: list[tuple[float, int]] = []  # (variance of the mean of one world, its degrees of freedom)
    for own in arrays:
        n_seeds = own[0].shape[0]
        if n_seeds > 1:
            means = np.mean([array.mean(axis=1) for array in own], axis=0)
            seed_parts.append((float(means.var(ddof=1)) / n_seeds, n_seeds - 1))
        item_parts += [
            (float(array.mean(axis=0).var(ddof=1)) / array.shape[1] / len(own) ** 2, array.shape[1] - 1)
            for array in own
            if array.shape[1] > 1
        ]
    seeds, items = (sum(value for value, _ in parts) / n_worlds**2 for parts in (seed_parts, item_parts))
    parts = [(value / n_worlds**2, df) for value, df in (*seed_parts, *item_parts)]
    within = seeds + items
    df = within**2 / sum(value**2 / df for value, df in parts) if within > 0 else math.inf
    spread = float(np.var([_mean(own) for own in arrays], ddof=1)) / n_worlds if n_worlds > 1 else 0.0
    between = max(0.0, spread - within)
    df = n_worlds - 1 if between > 0 else df
    return Components(between, seeds, items, df)


def bootstrap_worlds(
    worlds: Sequence[Strata], *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Estimate:
    """The mean over worlds with a hierarchical bootstrap interval.

    Each resample draws worlds with replacement, within each drawn world its seeds, and within each of its families its
    items. With few worlds the resampled means vary too little if worlds differ, and too much if they do not. The ends
    are therefore moved so that the variance is that of `components_of`, and by t_df / z for its degrees of freedom.

    Args:
        worlds: the strata of each world.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples.
        confidence: coverage of the interval.
    """
    if len(worlds) == 1:
        return bootstrap_mean(worlds[0], seed=seed, resamples=resamples, confidence=confidence)
    arrays = [checked(strata) for strata in worlds]
    value = float(np.mean([_mean(own) for own in arrays]))
    means = resampled_means([arrays], seed=seed, resamples=resamples)[0]
    tails = (1 - confidence) / 2
    low, high = (float(end) for end in np.quantile(means, [tails, 1 - tails]))
    components, spread = components_of(worlds), float(means.std())
    upper = 1 - tails
    stretch = float(stats.t.ppf(upper, components.df) / stats.norm.ppf(upper))
    stretch *= math.sqrt(components.total) / spread if spread > 0 else 1.0
    counts = {own[0].shape[0] for own in arrays}
    n = sum(array.shape[1] for own in arrays for array in own)
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return Estimate(
        value=value,
        low=value + (low - value) * stretch,
        high=value + (high - value) * stretch,
        n=n,
        method=f"hierarchical bootstrap over {len(arrays)} worlds, {seeds} seeds in each and {n} items, t-stretched",
    )


def resampled_means(
    methods: Sequence[Sequence[Strata]], *, seed: int, resamples: int = RESAMPLES
) -> np.ndarray:  # [methods, resamples]
    """Bootstrap means of several methods that share their worlds, seeds and items: all get the same draws.

    Args:
        methods: for each method the strata of each world, with equal shapes for all methods.
        seed: seed of the bootstrap.
        resamples: number of resamples.
    """
    rng = np.random.default_rng(seed)
    n_worlds = len(methods[0])
    drawn = rng.multinomial(n_worlds, np.full(n_worlds, 1 / n_worlds), size=resamples)  # [resamples, worlds]
    sums = np.zeros((len(methods), resamples))
    for place in range(n_worlds):
        times = drawn[:, place]
        owner = np.repeat(np.arange(resamples), times)  # a world that is drawn twice gets two draws of seeds and items
        for row, values in enumerate(_within([method[place] for method in methods], rng, len(owner))):
            sums[row] += np.bincount(owner, weights=values, minlength=resamples)
    return sums / n_worlds


def _within(methods: Sequence[Strata], rng: np.random.Generator, draws: int) -> np.ndarray:  # [methods, draws]
    """Means of one world over drawn seeds and items, the same draws for all methods."""
    seed_weights = resample_weights(rng, np.asarray(methods[0][0]).shape[0], draws)
    means = np.zeros((len(methods), draws))
    for family in range(len(methods[0])):
        item_weights = resample_weights(rng, np.asarray(methods[0][family]).shape[1], draws)
        for row, strata in enumerate(methods):
            means[row] += np.einsum("rs,rs->r", seed_weights, item_weights @ np.asarray(strata[family], float).T)
    return means / len(methods[0])


def paired_worlds(
    baseline: str,
    candidate: str,
    baseline_worlds: Sequence[Strata],
    candidate_worlds: Sequence[Strata],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Compares two methods on the same worlds, seeds and items: candidate - baseline.

    p comes from the sign-flip test on the differences of all pairs of a world and a seed. It asks whether there is a
    difference in these worlds; the interval is about other worlds too.

    Args:
        baseline: name of the baseline.
        candidate: name of the candidate.
        baseline_worlds: for each world, one array [seeds, items] per family.
        candidate_worlds: the same for the candidate, with equal shapes.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples.
    """
    differences = paired_strata(baseline, candidate, baseline_worlds, candidate_worlds)
    estimate = bootstrap_worlds(differences, seed=seed, resamples=resamples)
    pairs = pair_means(differences)
    reason = too_few_seeds(len(pairs))
    p = None if reason else sampled_sign_flip_p(pairs, seed=seed)
    comparison = Comparison(baseline=baseline, candidate=candidate, difference=estimate, p=p, correction=None)
    return PairedDifference(comparison, len(pairs), estimate.n, reason)


def paired_strata(
    baseline: str, candidate: str, first: Sequence[Strata], second: Sequence[Strata]
) -> list[list[np.ndarray]]:
    """candidate - baseline for each world and family.

    Raises:
        InputError: the two do not share worlds, families, seeds and items.
    """
    shapes = [[[np.asarray(array).shape for array in own] for own in side] for side in (first, second)]
    if shapes[0] != shapes[1]:
        raise InputError(f"{candidate} and {baseline} must share worlds, families, seeds and items")
    return [[b - a for a, b in zip(checked(x), checked(y), strict=True)] for x, y in zip(first, second, strict=True)]


def pair_means(worlds: Sequence[Strata]) -> np.ndarray:
    """[pairs] the mean over families for each pair of a world and a seed."""
    return np.concatenate([np.mean([array.mean(axis=1) for array in checked(strata)], axis=0) for strata in worlds])


def effect_size(baseline_worlds: Sequence[Strata], candidate_worlds: Sequence[Strata]) -> float | None:
    """The difference of two methods divided by the spread between seeds (Cohen's d with a pooled deviation).

    The spread is the standard deviation of the scores of seeds within a world, pooled over both methods and all worlds.

    Returns:
        None if no world has several seeds, or the scores of seeds do not differ.
    """
    squares, degrees = 0.0, 0
    for strata in (*baseline_worlds, *candidate_worlds):
        means = np.mean([array.mean(axis=1) for array in checked(strata)], axis=0)
        squares += float(((means - means.mean()) ** 2).sum())
        degrees += len(means) - 1
    if degrees == 0 or squares == 0:
        return None
    difference = np.mean([_mean(own) for own in candidate_worlds]) - np.mean([_mean(own) for own in baseline_worlds])
    return float(difference) / math.sqrt(squares / degrees)


def _mean(strata: Strata) -> float:
    return float(np.mean([array.mean() for array in strata]))
