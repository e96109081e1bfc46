"""Scores that vary over the seeds of training runs and over items.

Scores come as strata: one array [seeds, items] per task family, all with the same seeds in the same order. The mean of
strata is the mean of the family means, so that each family has equal weight, whatever its number of items. Every seed
answers the same items: seeds and items are crossed, and the scores of different seeds are never treated as more items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gldbench.schema import Comparison, Estimate
from gldbench.stats.intervals import CONFIDENCE, RESAMPLES, wilson
from gldbench.stats.significance import sign_flip_p
from gldfusion.errors import InputError

Strata = Sequence[np.ndarray]
"""one array [seeds, items] per family"""
MIN_TEST_SEEDS = 6
"""fewest paired seeds with which a two-sided sign-flip test can reach p < .05 (2^-5 = .031)"""


@dataclass(frozen=True)
class PairedDifference:
    """A comparison, with the number of seeds and items behind it."""

    comparison: Comparison
    n_seeds: int
    n_items: int
    reason: str
    """why `comparison.p` is None; an empty string if there is a p-value"""


def bootstrap_mean(
    strata: Strata, *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of `strata` with a hierarchical bootstrap interval.

    Each resample draws seeds with replacement and, within every stratum, items with replacement. All drawn seeds get
    the same drawn items, as in the experiment. The percentile ends are then moved away from the mean by the factor
    t_df / z, where Satterthwaite's df comes from the variance over seeds and the variance over items. Without it, a
    95 % interval over three seeds covers the true mean in as few as 84 % of cases. With one seed, only items are
    drawn.

    Args:
        strata: one array [seeds, items] per family.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples.
        confidence: coverage of the interval.
    """
    arrays = checked(strata)
    rng = np.random.default_rng(seed)
    n_seeds = arrays[0].shape[0]
    means = np.zeros(resamples)
    seed_weights = resample_weights(rng, n_seeds, resamples)
    for array in arrays:
        item_weights = resample_weights(rng, array.shape[1], resamples)
        means += np.einsum("rs,rs->r", seed_weights, item_weights @ array.T)
    means /= len(arrays)
    value = float(np.mean([array.mean() for array in arrays]))
    tails = (1 - confidence) / 2
    low, high = (float(end) for end in np.quantile(means, [tails, 1 - tails]))
    stretch = _stretch(arrays, confidence)
    n = sum(array.shape[1] for array in arrays)
    method = f"hierarchical bootstrap over {n_seeds} seeds and {n} items, t-stretched"
    if n_seeds == 1:
        method = f"bootstrap over {n} items of one checkpoint"
    return Estimate(
        value=value, low=value + (low - value) * stretch, high=value + (high - value) * stretch, n=n, method=method
    )


def binary_mean(scores: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """The mean of the 0/1 scores of one family, with an interval.

    With one seed it is Wilson's interval, with several the hierarchical bootstrap interval. If all scores are equal, a
    bootstrap interval would have no width; then it is Wilson's interval over the items of one seed.

    Args:
        scores: [seeds, items].
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples.
    """
    (array,) = checked([scores])
    if not np.isin(array, (0, 1)).all():
        raise InputError("expected scores of 0 or 1, got other values\nuse bootstrap_mean for graded scores")
    n_items = array.shape[1]
    if array.shape[0] == 1 or array.min() == array.max():
        return wilson(int(array[0].sum()), n_items)
    return bootstrap_mean([array], seed=seed, resamples=resamples)


def paired_difference(
    baseline: str,
    candidate: str,
    baseline_strata: Strata,
    candidate_strata: Strata,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Compares two subjects on the same seeds and items: candidate - baseline, with a hierarchical bootstrap interval.

    p comes from the exact sign-flip test on the differences per seed. With fewer than `MIN_TEST_SEEDS` seeds no outcome
    could be significant, so p is None and `reason` says why.

    Args:
        baseline: name of the baseline.
        candidate: name of the candidate.
        baseline_strata: one array [seeds, items] per family.
        candidate_strata: the same for the candidate, with equal shapes.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples.
    """
    if len(baseline_strata) != len(candidate_strata):
        raise InputError(f"expected the same families, got {len(candidate_strata)} and {len(baseline_strata)}")
    first, second = checked(baseline_strata), checked(candidate_strata)
    if any(a.shape != b.shape for a, b in zip(first, second, strict=True)):
        shapes = [(b.shape, a.shape) for a, b in zip(first, second, strict=True) if a.shape != b.shape]
        raise InputError(f"{candidate} and {baseline} must share seeds and items, got [seeds, items] {shapes[0]}")
    strata = [b - a for a, b in zip(first, second, strict=True)]
    estimate = bootstrap_mean(strata, seed=seed, resamples=resamples)
    n_seeds, n_items = strata[0].shape[0], estimate.n
    reason, p = too_few_seeds(n_seeds), None
    if not reason:
        p = sign_flip_p(np.mean([stratum.mean(axis=1) for stratum in strata], axis=0))
    return PairedDifference(
        Comparison(baseline=baseline, candidate=candidate, difference=estimate, p=p, correction=None),
        n_seeds,
        n_items,
        reason,
    )


def too_few_seeds(n_seeds: int) -> str:
    """Says why `n_seeds` paired seeds are too few for a significance test; an empty string if they are enough."""
    if n_seeds >= MIN_TEST_SEEDS:
        return ""
    smallest = min(1.0, 2.0 ** (1 - n_seeds))
    plural = "s" if n_seeds != 1 else ""
    return f"{n_seeds} paired seed{plural}: a sign-flip test cannot give a p below {smallest:.4g}"


def checked(strata: Strata) -> list[np.ndarray]:
    """The strata as arrays of numbers.

    Raises:
        InputError: they are no arrays [seeds, items] with the same seeds, or a score is missing.
    """
    arrays = [np.asarray(stratum, dtype=float) for stratum in strata]
    shapes = [array.shape for array in arrays]
    if not arrays or any(len(shape) != 2 or 0 in shape for shape in shapes) or len({s[0] for s in shapes}) > 1:
        raise InputError(f"expected arrays [seeds, items] with the same seeds, got shapes {shapes}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise InputError(
            "expected finite scores, got missing values\nleave out items that some subject has no score for"
        )
    return arrays


def resample_weights(rng: np.random.Generator, n: int, resamples: int) -> np.ndarray:
    """[resamples, n] how often each of n units is drawn in n draws with replacement, divided by n."""
    drawn = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n) / n


def _stretch(arrays: list[np.ndarray], confidence: float) -> float:
    """t_df / z, with Satterthwaite's df from the contributions of seeds and of items to the variance of the mean."""
    n_seeds = arrays[0].shape[0]
    degrees: list[tuple[float, int]] = []
    if n_seeds > 1:
        seed_means = np.mean([array.mean(axis=1) for array in arrays], axis=0)
        degrees.append((float(seed_means.var(ddof=1)) / n_seeds, n_seeds - 1))
    for array in arrays:
        n_items = array.shape[1]
        if n_items > 1:
            variance = float(array.mean(axis=0).var(ddof=1)) / n_items / len(arrays) ** 2
            degrees.append((variance, n_items - 1))
    total = sum(variance for variance, _ in degrees)
    if total == 0:
        return 1.0
    df = total**2 / sum(variance**2 / freedom for variance, freedom in degrees)
    upper = 0.5 + confidence / 2
    return float(stats.t.ppf(upper, df) / stats.norm.ppf(upper))
