"""Losses of one text written out with numpy, per unit, and their gradients by central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

STEP = 1e-5


def norm_of_gradient(loss: Callable[..., float], pivot: np.ndarray, source: np.ndarray, k: int) -> float:
    """The norm of the gradient of `loss(pivot, source, k)` with respect to all logits [T, V] of the pivot."""
    squares = 0.0
    for place in np.ndindex(pivot.shape):
        up, down = pivot.copy(), pivot.copy()
        up[place] += STEP
        down[place] -= STEP
        squares += ((loss(up, source, k) - loss(down, source, k)) / (2 * STEP)) ** 2
    return squares**0.5


def gld_raw(pivot: np.ndarray, source: np.ndarray, k: int) -> float:
    """sum_i |f_(i) - g_(i)|, f = C 1/k, C = Z^T Z / T with the k largest logits Z."""
    features = []
    for logits in (pivot, source):
        z = -np.sort(-logits, axis=1)[:, :k]
        features.append(np.sort((z.T @ z / len(z)).mean(1)))
    return float(np.abs(features[0] - features[1]).sum())


def uld(pivot: np.ndarray, source: np.ndarray, k: int) -> float:
    """The mean over positions of sum_i |p_(i) - q_(i)|, the k largest probabilities, renormalised."""
    sides = []
    for logits in (pivot, source):
        z = -np.sort(-logits, axis=1)[:, :k]
        weights = np.exp(z - z[:, :1])
        sides.append(weights / weights.sum(1, keepdims=True))
    return float(np.abs(sides[0] - sides[1]).sum(1).mean())


def kl(pivot: np.ndarray, source: np.ndarray, k: int) -> float:
    """The mean over positions of KL(q || p) on the source's k largest ids and one bucket for the rest."""
    total = 0.0
    for x, y in zip(pivot, source, strict=True):
        p, q = (np.exp(z - z.max()) / np.exp(z - z.max()).sum() for z in (x, y))
        ids = np.argsort(-y)[:k]
        p, q = (np.append(side[ids], 1 - side[ids].sum()) for side in (p, q))
        total += float((q * np.log(q / p)).sum())
    return total / len(pivot)
