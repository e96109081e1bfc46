"""Scores over items: means, standard errors and intervals that respect clusters, and paired differences.

Items that share a passage or a subject are not independent. They form a *cluster*, and clusters are the units that are
drawn. There are two exceptions, in which the items are the units: every item is its own cluster, or all items share one
cluster (a single subtask, which is then the whole population).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gldbench.schema import Estimate
from gldbench.stats.intervals import CONFIDENCE, RESAMPLES, wilson
from gldbench.stats.significance import blocks, mcnemar_p, sampled_sign_flip_p
from gldfusion.errors import InputError

Z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))


@dataclass(frozen=True)
class ItemMean:
    """A mean over items, with its interval and standard error."""

    estimate: Estimate
    se: float | None
    """cluster-robust standard error (CR1, see `_cr1`); None if there is only one unit"""
    n_units: int
    """number of clusters, or of items if they are independent"""
    clustered: bool


@dataclass(frozen=True)
class PairedItems:
    """The scores of two checkpoints on the same items, and a test of their difference."""

    first: float
    """mean score"""
    second: float
    """mean score"""
    mean: ItemMean
    """second - first"""
    n_discordant: int
    """number of items on which the two scores differ"""
    p: float
    test: str
    """name of the test that gave `p`"""
    p_clustered: float | None
    """p of the sign-flip test over clusters; None if items are independent"""


@dataclass(frozen=True)
class _Units:
    sums: np.ndarray  # [units] sum of the values of each unit
    sizes: np.ndarray  # [units] number of items of each unit
    clustered: bool


def item_mean(
    values: np.ndarray,
    clusters: Sequence[str],
    *,
    seed: int,
    bounds: tuple[float, float] = (0.0, 1.0),
    resamples: int = RESAMPLES,
) -> ItemMean:
    """The mean of `values` with a 95 % interval.

    - Independent 0/1 items: Wilson's interval.
    - Otherwise: the percentile bootstrap over the G units. Its ends are moved away from the mean by the factor
      t_{G-1} / z * sqrt(G / (G - 1)), because the plain bootstrap is too narrow for few units. They are cut off at
      `bounds`.
    - Clusters whose means are all equal, though their items differ: every resample of clusters has the same mean, so
      that the bootstrap interval would have no width, and the clustered standard error is 0. The clusters then show no
      correlation of their items, so items count as independent, in the interval and in `se`.
    - All values are equal, or there is one unit: a bootstrap interval would have no width. As Wilson's does at 0
      successes, the interval then assumes that a new unit differs with a probability of at most z^2 / (G + z^2), and
      that it differs as far as `bounds` allow.

    Args:
        values: [items] scores.
        clusters: [items] the cluster of each item.
        seed: seed of the bootstrap.
        bounds: smallest and largest possible score.
        resamples: number of bootstrap resamples.
    """
    units = _units(values, clusters)
    n, n_units = len(values), len(units.sums)
    se = _cr1(units) if n_units > 1 else None
    if not units.clustered and bounds == (0.0, 1.0) and np.isin(values, (0, 1)).all():
        return ItemMean(wilson(int(values.sum()), n), se, n_units, False)
    if units.clustered and np.ptp(values) > 0 and np.ptp(units.sums / units.sizes) <= 1e-12:
        return _as_independent(values, n_units, seed=seed, bounds=bounds, resamples=resamples)
    value, noun = float(np.mean(values)), "clusters" if units.clustered else "items"
    if np.ptp(values) == 0 or n_units == 1:
        chance = Z**2 / (n_units + Z**2)
        low, high = (value + chance * (end - value) for end in bounds)
        method = f"Wilson bound over {n_units} {noun}, whose scores are all equal"
    else:
        low, high = _bootstrap_ends(units, value, seed, resamples)
        low, high = max(low, bounds[0]), min(high, bounds[1])
        method = f"bootstrap over {n_units} {noun}, t-stretched"
        if units.clustered:
            method = f"cluster bootstrap over {n_units} clusters of {n} items, t-stretched"
    return ItemMean(Estimate(value=value, low=low, high=high, n=n, method=method), se, n_units, units.clustered)


def _as_independent(
    values: np.ndarray, n_clusters: int, *, seed: int, bounds: tuple[float, float], resamples: int
) -> ItemMean:
    """The mean of `n_clusters` clusters with the interval of independent items."""
    names = [str(place) for place in range(len(values))]
    alone = item_mean(values, names, seed=seed, bounds=bounds, resamples=resamples)
    method = f"{alone.estimate.method}: the means of their clusters are all equal"
    estimate = dataclasses.replace(alone.estimate, method=method)
    return ItemMean(estimate=estimate, se=alone.se, n_units=n_clusters, clustered=True)


def paired_items(
    first: np.ndarray,
    second: np.ndarray,
    clusters: Sequence[str],
    *,
    seed: int,
    fixed_clusters: bool = False,
    resamples: int = RESAMPLES,
) -> PairedItems:
    """Compares two checkpoints on the same items: second - first, with a paired bootstrap interval and a test.

    The test is McNemar's exact test for 0/1 scores of independent items, and the sign-flip test over units for all
    other scores.

    Args:
        first: [items] scores.
        second: [items] scores.
        clusters: [items] the cluster of each item.
        seed: seed of the bootstrap and of the sampled test.
        fixed_clusters: the clusters are the subtasks of a benchmark, which are fixed: only items are drawn, so items
            count as independent in `p`. `p_clustered` is the p-value of a test that draws subtasks too.
        resamples: number of bootstrap resamples.
    """
    if not first.shape == second.shape == (len(clusters),):
        raise InputError(f"expected scores of the same items, got {first.shape}, {second.shape}, {len(clusters)}")
    difference = second - first
    mean = item_mean(difference, clusters, seed=seed, bounds=(-1.0, 1.0), resamples=resamples)
    binary = bool(np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all())
    p_clustered = sampled_sign_flip_p(_units(difference, clusters).sums, seed=seed) if mean.clustered else None
    if binary and (fixed_clusters or not mean.clustered):
        p, test = mcnemar_p(int(np.sum(difference < 0)), int(np.sum(difference > 0))), "exact McNemar"
    elif p_clustered is not None and not fixed_clusters:
        p, test = p_clustered, f"sign-flip over {mean.n_units} clusters"
    else:
        p, test = sampled_sign_flip_p(difference, seed=seed), f"sign-flip over {len(difference)} items"
    return PairedItems(
        first=float(first.mean()),
        second=float(second.mean()),
        mean=mean,
        n_discordant=int(np.sum(np.abs(difference) > 1e-12)),
        p=p,
        test=test,
        p_clustered=p_clustered,
    )


def _units(values: np.ndarray, clusters: Sequence[str]) -> _Units:
    if values.ndim != 1 or values.size == 0 or values.size != len(clusters):
        raise InputError(f"expected one score and one cluster per item, got {values.shape} and {len(clusters)}")
    if not np.isfinite(values).all():
        raise InputError("expected finite scores, got missing values\nleave out items that have no score")
    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    n_clusters = int(index.max()) + 1
    if n_clusters in (1, values.size):
        return _Units(values.astype(float), np.ones(values.size), clustered=False)
    return _Units(np.bincount(index, weights=values), np.bincount(index).astype(float), clustered=True)


def _cr1(units: _Units) -> float:
    """Cluster-robust standard error of the mean, CR1: sqrt(G / (G - 1) * sum_g (sum_{i in g} (x_i - mean))^2) / n.

    It is the sandwich estimator of a regression on a constant (Liang and Zeger, 1986) with the small-sample factor
    (G / (G - 1)) (n - 1) / (n - k) for k = 1. If every item is its own cluster, it is s / sqrt(n). It needs G > 1.
    """
    n_units, n = len(units.sums), units.sizes.sum()
    residuals = units.sums - units.sums.sum() / n * units.sizes
    return math.sqrt(n_units / (n_units - 1) * float(residuals @ residuals)) / n


def _bootstrap_ends(units: _Units, value: float, seed: int, resamples: int) -> tuple[float, float]:
    """The ends of the stretched bootstrap interval. Each resample draws G of the G units with replacement."""
    n_units = len(units.sums)
    # units with the same sum and size are interchangeable: how many of them are drawn is multinomial
    kinds, counts = np.unique(np.column_stack([units.sums, units.sizes]), axis=0, return_counts=True)
    rng, means = np.random.default_rng(seed), []
    for drawn in blocks(resamples, len(kinds)):
        weights = rng.multinomial(n_units, counts / n_units, size=drawn)
        means.append(weights @ kinds[:, 0] / (weights @ kinds[:, 1]))
    tails = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tails, 1 - tails])
    t = float(stats.t.ppf(1 - tails, n_units - 1))
    stretch = t / Z * math.sqrt(n_units / (n_units - 1))
    return value + (float(low) - value) * stretch, value + (float(high) - value) * stretch
