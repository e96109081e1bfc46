"""Losses of one text written out with numpy, per unit, and the norms of their gradients by central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

STEP = 1e-5
OfPositions = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(logits [T, V] of pivot and source, k) -> the loss of each position [T]"""


def norm_of_mean(loss: OfPositions, pivot: np.ndarray, source: np.ndarray, k: int) -> float:
    """The norm of the gradient of the mean of a loss over the positions, with respect to all logits of the pivot."""
    squares = 0.0
    for column in range(pivot.shape[1]):  # a logit changes only the loss of its own position
        step = STEP * (np.arange(pivot.shape[1]) == column)
        slopes = (loss(pivot + step, source, k) - loss(pivot - step, source, k)) / (2 * STEP)
        squares += float(np.square(slopes / len(pivot)).sum())
    return squares**0.5


def norm_of_gld(pivot: np.ndarray, source: np.ndarray, k: int) -> float:
    """The same for gld with raw values, of which only the k largest logits of each position can have a gradient."""
    squares = 0.0
    for row, order in enumerate(np.argsort(-pivot, axis=1)):
        for column in order[:k]:
            step = np.zeros_like(pivot)
            step[row, column] = STEP
            squares += ((gld(pivot + step, source, k) - gld(pivot - step, source, k)) / (2 * STEP)) ** 2
    return squares**0.5


def gld(pivot: np.ndarray, source: np.ndarray, k: int) -> float:
    """sum_i |f_(i) - g_(i)|, f = C 1/k, C = Z^T Z / T with the k largest logits Z."""
    features = []
    for logits in (pivot, source):
        z = -np.sort(-logits, axis=1)[:, :k]
        features.append(np.sort((z.T @ z / len(z)).mean(1)))
    return float(np.abs(features[0] - features[1]).sum())


def uld(pivot: np.ndarray, source: np.ndarray, k: int) -> np.ndarray:
    """sum_i |p_(i) - q_(i)|, the k largest probabilities, renormalised."""
    sides = []
    for logits in (pivot, source):
        z = -np.sort(-logits, axis=1)[:, :k]
        weights = np.exp(z - z[:, :1])
        sides.append(weights / weights.sum(1, keepdims=True))
    return np.abs(sides[0] - sides[1]).sum(1)


def kl(pivot: np.ndarray, source: np.ndarray, k: int) -> np.ndarray:
    """KL(q || p) on the source's k largest ids and one bucket for the rest."""
    ids = np.argsort(-source, axis=1)[:, :k]
    sides = []
    for logits in (pivot, source):
        weights = np.exp(logits - logits.max(1, keepdims=True))
        p = np.take_along_axis(weights / weights.sum(1, keepdims=True), ids, 1)
        sides.append(np.concatenate([p, 1 - p.sum(1, keepdims=True)], 1))
    p, q = sides
    return (q * np.log(q / p)).sum(1)
