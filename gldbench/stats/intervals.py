"""Closed formulas: Wilson's interval, chance correction, and the interval of a mean of independent estimates."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats

from gldbench.schema import Estimate
from gldfusion.errors import InputError

CONFIDENCE = 0.95
"""of all intervals"""
RESAMPLES = 2000
"""bootstrap resamples"""


def chance_corrected(score: float, chance: float) -> float:
    """Computes (s - c) / (1 - c) for a score s. It is 0 at the score c of the best constant guess, and 1 at score 1."""
    if not 0 <= chance < 1:
        raise InputError(f"expected a chance level in [0, 1), got {chance}")
    return (score - chance) / (1 - chance)


def correct_estimate(estimate: Estimate, chance: float) -> Estimate:
    """Corrects an estimate and both ends of its interval for chance. The map is linear, so the coverage stays."""
    value, low, high = (chance_corrected(x, chance) for x in (estimate.value, estimate.low, estimate.high))
    return Estimate(value=value, low=low, high=high, n=estimate.n, method=estimate.method)


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """The share of successes among `n` independent 0/1 items, with Wilson's score interval (1927)."""
    if not 0 <= successes <= n or n == 0:
        raise InputError(f"expected 0 <= successes <= n and n > 0, got {successes} of {n}")
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # with 0 or n successes one end is exactly 0 or 1; rounding would miss it by 1e-17
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == n else middle + half
    return Estimate(value=share, low=low, high=high, n=n, method=f"Wilson interval over {n} items")


def macro_mean(parts: Sequence[Estimate]) -> Estimate:
    """The plain mean of independent estimates, such as the scores of tasks or of subtasks.

    The parts are fixed, not a sample of tasks, so the interval of the mean follows from the intervals of the parts.
    They are combined by the method of variance estimates recovery (MOVER): low = m - sqrt(sum (m_i - low_i)^2) / k, and
    high likewise (Zou and Donner, 2008, Statistics in Medicine 27). It suits intervals that are not symmetric, such as
    Wilson's near 0 and 1.
    """
    if not parts:
        raise InputError("expected at least one score to average, got none")
    k = len(parts)
    value = sum(part.value for part in parts) / k
    below = math.sqrt(sum((part.value - part.low) ** 2 for part in parts)) / k
    above = math.sqrt(sum((part.high - part.value) ** 2 for part in parts)) / k
    method = f"mean of {k}, their intervals combined (MOVER)"
    return Estimate(value=value, low=value - below, high=value + above, n=sum(part.n for part in parts), method=method)
