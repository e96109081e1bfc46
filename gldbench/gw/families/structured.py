"""Graph pairs with a known answer, most of them made so that node features see nothing."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gldbench.gw.problem import Array, Graph, NotApplicableError, Problem


def pair(c: NDArray, d: NDArray) -> Problem:
    """Two graphs with uniform weights."""
    return Problem(*(Graph(len(x), torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))) for x in (c, d)))


def of_logits(z: Array, y: Array) -> Problem:
    """Rank nodes, aggregation `mean`."""
    scaled = [torch.from_numpy(x / len(x) ** 0.5) for x in (z, y)]
    return Problem(*(Graph(x.shape[1], x.T @ x, logits=x) for x in scaled))


def rank_one(size: int, rng: np.random.Generator) -> Problem:
    """One position each: C = z z^T, D = y y^T with non-negative z and y. Exact in closed form."""
    return of_logits(*(-np.sort(-rng.random((1, size)), axis=1) for _ in range(2)))


def blocks_against_constant(size: int, rng: np.random.Generator) -> Problem:
    """Two all-ones blocks of half the nodes against 1/2 everywhere: GW_2^2 = 1/4, GW_1 = 1/2, equal features."""
    half = _even(size) // 2
    return pair(np.kron(np.eye(2), np.ones((half, half))), np.full((size, size), 0.5))


def half_step_against_rank_one(size: int, rng: np.random.Generator) -> Problem:
    """On rank nodes: half the tokens are 1 on the first half of the ranks, half are 1; against u u^T of equal features.

    GW_1 = GW_2 = .1 for every size, gGW = 0.
    """
    step = np.ones((2, size))
    step[0, _even(size) // 2 :] = 0
    features = step.T @ step.mean(1) / 2
    return of_logits(step, (features / np.sqrt(features.mean()))[None])


def blocks_against_all_pairs(size: int, rng: np.random.Generator) -> Problem:
    """Tokens that activate two nodes: always the same partner, against every partner equally often. Equal features."""
    block = np.kron(np.eye(_even(size) // 2), np.ones((2, 2)))
    everyone = ((size - 2) * np.eye(size) + np.ones((size, size))) / (size - 1)
    return pair(block, everyone)


def circulants(size: int, rng: np.random.Generator) -> Problem:
    """Two PSD circulant graphs of mean 1: equal, constant features and different spectra."""
    graphs = []
    for _ in range(2):
        spectrum = rng.random(size // 2 + 1)
        row = np.fft.irfft(spectrum, size) if size > 1 else np.ones(1)
        graph = row[(np.arange(size)[:, None] - np.arange(size)) % size]
        graphs.append(graph + 1 - graph.mean())
    return pair(*graphs)


def permuted_copy(size: int, rng: np.random.Generator) -> Problem:
    """A graph and itself with the nodes renamed: the distance is 0."""
    z = rng.random((size, size))
    order = rng.permutation(size)
    return of_logits(z, z[:, order])


def _even(size: int) -> int:
    if size % 2:
        raise NotApplicableError(f"defined for even sizes, not {size}")
    return size
