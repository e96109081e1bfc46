"""Graph pairs on which Gromov-Wasserstein solvers are often compared."""

from __future__ import annotations

import numpy as np

from gldbench.gw.families.structured import pair
from gldbench.gw.problem import Array, Problem


def erdos_renyi(size: int, rng: np.random.Generator) -> Problem:
    """The adjacency matrices of two random graphs with edge probabilities 1/2 and 1/3. They are indefinite."""
    return pair(*(_adjacency(np.full((size, size), share), rng) for share in (1 / 2, 1 / 3)))


def stochastic_blocks(size: int, rng: np.random.Generator) -> Problem:
    """Random graphs with two and with three communities. The edge probability is 0.8 inside a community, else 0.1."""
    graphs = []
    for communities in (2, 3):
        member = np.arange(size) * communities // size
        graphs.append(_adjacency(np.where(member[:, None] == member, 0.8, 0.1), rng))
    return pair(*graphs)


def euclidean(size: int, rng: np.random.Generator) -> Problem:
    """The distances between Gaussian points in the plane and in space.

    These matrices are conditionally negative definite, so branch and bound finds the exact distance.
    """
    points = [rng.standard_normal((size, dimension)) for dimension in (2, 3)]
    return pair(*(np.linalg.norm(x[:, None] - x, axis=-1) for x in points))


def _adjacency(share: Array, rng: np.random.Generator) -> Array:
    upper = np.triu(rng.random(share.shape) < share, 1)
    return (upper | upper.T).astype(float)
