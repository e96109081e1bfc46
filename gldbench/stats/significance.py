"""Paired tests, and Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from gldfusion.errors import InputError

MAX_TEST_SEEDS = 20
"""`sign_flip_p` enumerates at most 2^20 sign patterns, which takes about a second"""
FLIPS = 19_999
"""number of random sign patterns if there are too many to enumerate; p is then at least 1 / 20000"""
BLOCK = 4_000_000
"""most random numbers that are in memory at once"""


def sign_flip_p(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p of the exact sign-flip test (Fisher, 1935).

    It is the share of the 2^n sign patterns with |mean| at least as large as the observed one. The test is valid if the
    differences are symmetric about 0 under the null hypothesis. The smallest possible p is 2^(1-n).

    Args:
        differences: [n] with 1 <= n <= MAX_TEST_SEEDS.
    """
    values = np.asarray(differences, dtype=float)
    if not 1 <= values.size <= MAX_TEST_SEEDS or not np.isfinite(values).all():
        raise InputError(f"expected 1 to {MAX_TEST_SEEDS} finite differences, got {values.size}: {values}")
    sums = np.zeros(1)
    for value in np.abs(values):
        sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(np.abs(sums) >= _reached(values)))


def sampled_sign_flip_p(differences: np.ndarray, *, seed: int, flips: int = FLIPS) -> float:
    """The sign-flip test for any number of differences.

    It enumerates all sign patterns if at most MAX_TEST_SEEDS differences are not 0. Otherwise it samples patterns, and
    p = (1 + patterns that reach the observed |mean|) / (1 + patterns), which is valid for any number of patterns
    (Phipson and Smyth, 2010).

    Args:
        differences: [n].
        seed: seed of the sampled patterns.
        flips: number of sampled patterns.
    """
    values = differences[np.abs(differences) > 1e-12]
    if values.size == 0:
        return 1.0
    if values.size <= MAX_TEST_SEEDS:
        return sign_flip_p(values)
    # one binomial draw says how many of the differences of equal size become positive
    sizes, counts = np.unique(np.abs(values).round(12), return_counts=True)
    rng, hits, reached = np.random.default_rng(seed), 0, _reached(values)
    for drawn in blocks(flips, sizes.size):
        positive = rng.binomial(counts, 0.5, size=(drawn, sizes.size))
        hits += int(np.sum(np.abs((2 * positive - counts) @ sizes) >= reached))
    return (hits + 1) / (flips + 1)


def _reached(values: np.ndarray) -> float:
    """|sum| minus a tolerance: sums that are equal in exact arithmetic can differ by rounding."""
    return abs(float(values.sum())) - 1e-12 * max(1.0, float(np.abs(values).sum()))


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test.

    Under the null hypothesis, an item that only one side solved is solved by either side with probability 1/2. p is
    twice the smaller binomial tail, at most 1; there is no mid-p and no chi-squared approximation.

    Args:
        only_first: number of items that only the first side solved.
        only_second: number of items that only the second side solved.
    """
    discordant = only_first + only_second
    return min(1.0, 2 * float(stats.binom.cdf(min(only_first, only_second), discordant, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values by Holm's step-down method (1979); they stay in their order."""
    values = np.asarray(p_values, dtype=float)
    if values.size and not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"expected p-values in [0, 1], got {list(p_values)}")
    order = np.argsort(values, kind="stable")
    factors = np.arange(values.size, 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted.tolist()


def blocks(total: int, width: int) -> list[int]:
    """Splits `total` draws of `width` numbers each into portions that fit in memory; returns their sizes."""
    portion = max(1, BLOCK // max(1, width))
    return [min(portion, total - start) for start in range(0, total, portion)]
