"""How stable a ranking is: how often each method would be best if worlds, seeds and items were drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gldbench.stats.intervals import RESAMPLES
from gldbench.stats.seeds import Strata
from gldbench.stats.worlds import resampled_means


@dataclass(frozen=True)
class Ranks:
    """The stability of a ranking over bootstrap resamples."""

    best: dict[str, float]
    """method -> share of the resamples in which it has the highest mean; methods that tie share it"""
    tau: float
    """mean of Kendall's tau-b between the ranking and the ranking in a resample: 1 if it never changes"""


def rank_stability(methods: Mapping[str, Sequence[Strata]], *, seed: int, resamples: int = RESAMPLES) -> Ranks:
    """Ranks methods by their means in bootstrap resamples of worlds, seeds and items.

    Args:
        methods: for each method, the strata of each world, with equal shapes for all methods.
        seed: seed of the bootstrap.
        resamples: number of resamples.
    """
    means = resampled_means(list(methods.values()), seed=seed, resamples=resamples).round(12)
    own = np.array([np.mean([np.mean([a.mean() for a in world]) for world in worlds]) for worlds in methods.values()])
    top = means == means.max(axis=0)
    shares = (top / top.sum(axis=0)).mean(axis=1)
    taus = [float(np.asarray(stats.kendalltau(own.round(12), column))[0]) for column in means.T]
    known = [tau for tau in taus if not np.isnan(tau)]  # undefined where all methods tie
    return Ranks(dict(zip(methods, map(float, shares), strict=True)), float(np.mean(known)) if known else 1.0)
