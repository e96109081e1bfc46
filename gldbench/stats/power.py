"""How many seeds a comparison needs: power of a paired t test, and what is left undetected.

A comparison of two methods has n pairs, each a world and a seed. Its difference is normal with the standard error SE,
and t = difference / SE has n - 1 degrees of freedom. With a true difference d, t follows the noncentral t distribution
with noncentrality d / SE; the power is the probability that |t| exceeds the critical value (Cohen, 1988, chapter 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from gldfusion.errors import InputError

ALPHA = 0.05
"""two-sided level of a test"""
POWER = 0.8
"""probability with which a difference should be found"""
MOST_PAIRS = 100_000
"""`pairs_needed` looks no further"""


@dataclass(frozen=True)
class Spread:
    """Standard deviations that decide how precisely a difference of two methods is measured."""

    pairs: float
    """of the difference between two methods, over the seeds of one world"""
    worlds: float = 0.0
    """of the true difference, over worlds"""
    items: float = 0.0
    """standard error of the difference in one world that comes from the choice of its items"""

    def error(self, pairs: int, worlds: int = 1) -> float:
        """The standard error of the mean difference over `pairs` pairs that are spread over `worlds` worlds."""
        return math.sqrt(self.pairs**2 / pairs + (self.worlds**2 + self.items**2) / worlds)


def spread_of_pairs(seeds: float, items: int, score: float = 0.5) -> float:
    """The standard deviation of a paired difference if nothing is known but the spread of one method between seeds.

    sqrt(2 (s^2 + p (1 - p) / m)): both methods vary with the seed, and with the m items of 0/1 scores around p.

    Args:
        seeds: standard deviation s of the score of one method over seeds.
        items: number m of items.
        score: share p of correct answers; one half is the least favourable.
    """
    return math.sqrt(2 * (seeds**2 + score * (1 - score) / items))


def power_of(difference: float, error: float, df: float, alpha: float = ALPHA) -> float:
    """The probability to find a true difference.

    Args:
        difference: the true difference.
        error: its standard error.
        df: degrees of freedom: pairs - 1, or worlds - 1 if worlds differ.
        alpha: two-sided level of the test.
    """
    if error <= 0 or df < 1:
        raise InputError(f"expected a standard error above 0 and at least 1 degree of freedom, got {error} and {df}")
    critical, shift = float(stats.t.ppf(1 - alpha / 2, df)), abs(difference) / error
    return float(stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift))


def pairs_needed(difference: float, spread: float, power: float = POWER, alpha: float = ALPHA) -> int:
    """The fewest pairs that find a true difference with the wanted probability.

    Args:
        difference: the true difference.
        spread: standard deviation of the difference over pairs.
        power: wanted probability.
        alpha: two-sided level of the test.

    Raises:
        InputError: more than `MOST_PAIRS` pairs would be needed.
    """

    def enough(pairs: int) -> bool:
        return power_of(difference, spread / math.sqrt(pairs), pairs - 1, alpha) >= power

    few, many = 1, 2
    while not enough(many):
        few, many = many, 2 * many
        if many > MOST_PAIRS:
            raise InputError(f"more than {MOST_PAIRS:,} pairs would be needed\nask for a larger difference")
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


def smallest_detectable(error: float, df: float, power: float = POWER, alpha: float = ALPHA) -> float:
    """The smallest true difference that is found with the wanted probability.

    Args:
        error: standard error of the difference.
        df: its degrees of freedom.
        power: wanted probability.
        alpha: two-sided level of the test.
    """
    if error == 0:
        return 0.0
    highest = error * (float(stats.t.ppf(1 - alpha / 2, df)) + float(stats.t.ppf(power, df)) + 1)
    while power_of(highest, error, df, alpha) < power:
        highest *= 2
    low, high = 0.0, highest
    for _ in range(60):  # bisection: the power rises with the difference
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(middle, error, df, alpha) >= power else (middle, high)
    return high
