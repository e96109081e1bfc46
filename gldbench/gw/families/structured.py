"""Graph pairs with a known distance. In most of them the node features of both graphs are equal."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gldbench.gw.problem import Array, Graph, NotApplicableError, Problem


def pair(c: NDArray, d: NDArray) -> Problem:
    """A problem of two cost matrices with uniform weights. They are made exactly symmetric."""
    symmetric = ((np.asarray(x, dtype=np.float64) + np.asarray(x, dtype=np.float64).T) / 2 for x in (c, d))
    return Problem(*(Graph(len(x), torch.from_numpy(np.ascontiguousarray(x))) for x in symmetric))


def of_logits(z: Array, y: Array) -> Problem:
    """A problem of two matrices of logits [T, n] on rank nodes, with aggregation `mean`."""
    scaled = [torch.from_numpy(x / len(x) ** 0.5) for x in (z, y)]
    return Problem(*(Graph(x.shape[1], x.T @ x, logits=x) for x in scaled))


def rank_one(size: int, rng: np.random.Generator) -> Problem:
    """C = z z^T and D = y y^T with non-negative z and y (one position each). The distance has a closed form."""
    return of_logits(*(-np.sort(-rng.random((1, size)), axis=1) for _ in range(2)))


def blocks_against_constant(size: int, rng: np.random.Generator) -> Problem:
    """Two blocks of ones, each of half the nodes, against 1/2 everywhere. GW_2^2 = 1/4, GW_1 = 1/2, equal features."""
    half = _even(size) // 2
    return pair(np.kron(np.eye(2), np.ones((half, half))), np.full((size, size), 0.5))


def half_step_against_rank_one(size: int, rng: np.random.Generator) -> Problem:
    """Two tokens on rank nodes against u u^T with the same features.

    The logits of one token are 1 on the first half of the ranks and 0 on the rest; those of the other token are all 1.
    GW_1 = GW_2 = 0.1 for every size, and gGW = 0.
    """
    step = np.ones((2, size))
    step[0, _even(size) // 2 :] = 0
    features = step.T @ step.mean(1) / 2
    return of_logits(step, (features / np.sqrt(features.mean()))[None])


def blocks_against_all_pairs(size: int, rng: np.random.Generator) -> Problem:
    """Tokens that each activate two nodes, with equal features in both graphs.

    In the first graph a node is always activated with the same partner, in the second with every partner equally often.
    """
    block = np.kron(np.eye(_even(size) // 2), np.ones((2, 2)))
    everyone = ((size - 2) * np.eye(size) + np.ones((size, size))) / (size - 1)
    return pair(block, everyone)


def circulants(size: int, rng: np.random.Generator) -> Problem:
    """Two PSD circulant graphs of mean 1. Their features are constant and equal, their spectra differ."""
    graphs = []
    for _ in range(2):
        spectrum = rng.random(size // 2 + 1)
        row = np.fft.irfft(spectrum, size) if size > 1 else np.ones(1)
        graph = row[(np.arange(size)[:, None] - np.arange(size)) % size]
        graphs.append(graph + 1 - graph.mean())
    return pair(*graphs)


def permuted_copy(size: int, rng: np.random.Generator) -> Problem:
    """A graph and the same graph with its nodes in another order. The distance is 0."""
    z = rng.random((size, size))
    order = rng.permutation(size)
    return of_logits(z, z[:, order])


def _even(size: int) -> int:
    if size % 2:
        raise NotApplicableError(f"defined for even sizes, not {size}")
    return size
