"""Isomorphic pairs of graphs: a graph, and the same graph with its nodes in another order. Their distance is 0.

A lower bound above 0 on one of these pairs is false. The pairs are drawn with fixed seeds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gldbench.gw.problem import Array, Problem, graph_from_matrix

SCALES = (1e-3, 1.0, 1e3, 1e6)
SIZES = (3, 5, 9, 12, 17, 24)
"""nodes"""
KINDS = ("cycle", "weighted cycle", "two rings", "distances", "dense")


def isomorphic_pairs() -> Iterator[tuple[str, Problem]]:
    """240 pairs with a name each: five kinds, six sizes, four scales, uniform and other weights."""
    for number, kind in enumerate(KINDS):
        for size in SIZES:
            for power, scale in enumerate(SCALES):
                for weighted in (False, True):
                    rng = np.random.default_rng([number, size, power, weighted])
                    name = f"{kind} {size} x {scale:g}" + (" weighted" if weighted else "")
                    yield name, _pair(scale * _graph(kind, size, rng), weighted, rng)


def _pair(graph: Array, weighted: bool, rng: np.random.Generator) -> Problem:
    order = rng.permutation(len(graph))
    weights = rng.random(len(graph)) + 0.1 if weighted else None
    if weights is not None:
        weights = weights / weights.sum()
    moved = None if weights is None else weights[order]
    copy = graph[np.ix_(order, order)]
    return Problem(graph_from_matrix(graph, weights, "A"), graph_from_matrix(copy, moved, "B"))


def _graph(kind: str, size: int, rng: np.random.Generator) -> Array:
    if kind == "cycle":
        return _ring(size, np.ones(size))
    if kind == "weighted cycle":
        return _ring(size, rng.random(size))
    if kind == "two rings":
        graph, half = np.zeros((size, size)), size // 2
        graph[:half, :half] = _ring(half, rng.random(half))
        graph[half:, half:] = _ring(size - half, rng.random(size - half))
        return graph
    if kind == "distances":
        points = rng.normal(size=(size, 3))
        return np.linalg.norm(points[:, None] - points, axis=-1)
    half = rng.normal(size=(size, size))
    return half + half.T


def _ring(size: int, weights: Array) -> Array:
    """The cycle of the nodes 0, 1, ..., whose edge from i to i + 1 has weights[i]."""
    graph = np.zeros((size, size))
    nodes = np.arange(size)
    graph[nodes, (nodes + 1) % size] = weights
    return np.maximum(graph, graph.T)
