"""Keeps intervals inside the range of their metric.

The bootstrap over seeds is widened by Student's t, so that an end of an interval can lie where no score can be. No true
score lies there, so that the interval covers as often without that part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from gldbench.schema import Estimate

Bounds = tuple[float, float]
"""(smallest, largest) possible value"""

RAW: Bounds = (0.0, 1.0)
"""range of a score before chance correction"""
CUT = "cut at the end of the possible range"
"""words in `Estimate.method` of an interval that was cut"""


def corrected_bounds(chances: Sequence[float]) -> Bounds:
    """The range of a mean of chance-corrected scores.

    Args:
        chances: the chance level in [0, 1) of each family that the mean is over.
    """
    return float(np.mean([-chance / (1 - chance) for chance in chances])), 1.0


def difference_bounds(chances: Sequence[float]) -> Bounds:
    """The range of a difference of two such means."""
    low, high = corrected_bounds(chances)
    return low - high, high - low


def inside(estimate: Estimate, bounds: Bounds) -> Estimate:
    """The estimate with its interval cut at the ends of the possible range; `method` says so if anything was cut."""
    low, high = max(estimate.low, bounds[0]), min(estimate.high, bounds[1])
    if (low, high) == (estimate.low, estimate.high):
        return estimate
    # the value itself may miss an end by rounding
    low, high = min(low, estimate.value), max(high, estimate.value)
    return dataclasses.replace(estimate, low=low, high=high, method=f"{estimate.method}, {CUT}")
