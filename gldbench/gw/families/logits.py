"""Graph pairs from top-k logits, which are synthetic or come from real models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gldbench.gw.problem import Graph, NotApplicableError, Problem
from gldfusion.graph import vocabulary_nodes
from gldfusion.sources import SequenceSignal

Nodes = Literal["rank", "vocabulary"]
Values = Literal["raw", "logprob", "standard", "softmax"]
NODES: tuple[Nodes, ...] = ("rank", "vocabulary")
VALUES: tuple[Values, ...] = ("raw", "logprob", "standard", "softmax")
KEPT = 16
"""logits that are kept per position on synthetic vocabulary nodes"""
LARGEST_GRAPH = 4096
"""nodes; above this number the graph itself is not built"""


def node_values(signal: SequenceSignal, values: Values) -> Tensor:
    """Z [T, k] in float64, computed as in `gldfusion.losses.gld.Gld`.

    Raises:
        NotApplicableError: `values` needs sums over the vocabulary, and the signal does not hold them.
    """
    z = torch.from_numpy(signal.values.astype(np.float64))
    if values == "logprob":
        return z - _sums(signal.lse, values)
    if values == "standard":
        return (z - _sums(signal.mean, values)) / (_sums(signal.std, values) + 1e-6)
    return z.softmax(-1) if values == "softmax" else z


def _sums(held: np.ndarray | None, values: Values) -> Tensor:
    """A column of the signal as a tensor [T, 1]."""
    if held is None:
        raise NotApplicableError(
            f"{values} nodes need sums over the vocabulary, which values-only caches and .npy files do not hold"
        )
    return torch.from_numpy(held.astype(np.float64))[:, None]


def graph_of(signal: SequenceSignal, nodes: Nodes, values: Values) -> Graph:
    """The co-activation graph of one response, with the mean over its positions (aggregation `mean`).

    Raises:
        NotApplicableError: the signal does not hold what `nodes` or `values` need.
    """
    z = node_values(signal, values)
    z = z / len(z) ** 0.5  # so that Z^T Z is the mean over the positions
    if nodes == "rank":
        return Graph(z.shape[1], z.T @ z, logits=z)
    if signal.ids is None:
        raise NotApplicableError(
            "vocabulary nodes need the ids of the logits, which values-only caches and .npy files do not hold"
        )
    ids = torch.from_numpy(signal.ids)
    return vocabulary_graph(z, ids)


def vocabulary_graph(z: Tensor, ids: Tensor) -> Graph:
    """The graph with one node per distinct id. Its matrix is built up to LARGEST_GRAPH nodes."""
    kept = vocabulary_nodes(ids)
    matrix = None
    if len(kept) <= LARGEST_GRAPH:
        wide = z.new_zeros(len(z), len(kept)).scatter_(1, torch.searchsorted(kept, ids), z)
        matrix = wide.T @ wide
    return Graph(len(kept), matrix, logits=z, ids=ids)


def synthetic(nodes: Nodes, values: Values) -> Callable[[int, np.random.Generator], Problem]:
    """Makes a family of top-k logits of two noisy models on one text.

    A problem of size n has n positions. The vocabulary has 4 n ids for rank nodes, and n ids for vocabulary nodes.
    """

    def make(size: int, rng: np.random.Generator) -> Problem:
        vocabulary = 4 * size if nodes == "rank" else size
        keep = size if nodes == "rank" else max(1, min(KEPT, size // 2))
        text = 2 * rng.standard_normal((size, vocabulary)) - np.log1p(np.arange(vocabulary))
        readings = [text + rng.standard_normal(text.shape) for _ in range(2)]
        if nodes == "vocabulary":  # id t is the largest at position t, so every id is kept and there are n nodes
            for full in readings:
                np.fill_diagonal(full, full.max(1) + rng.random(size))
        return Problem(*(graph_of(_top(full, keep), nodes, values) for full in readings))

    return make


def _top(full: np.ndarray, keep: int) -> SequenceSignal:
    """The part of the logits [T, V] that a source cache would store."""
    logits = torch.from_numpy(full)
    values, ids = logits.topk(keep)
    columns = {"lse": logits.logsumexp(-1), "mean": logits.mean(-1), "std": logits.std(-1, correction=0)}
    held = {name: column.numpy() for name, column in columns.items()}
    return SequenceSignal(values.numpy(), ids.numpy(), starts=np.full(len(full), -1), **held)


def sparse_vocabulary(size: int, rng: np.random.Generator) -> Problem:
    """A graph of `size` distinct ids from size / 64 positions with 64 logits each: as many nodes as logits."""
    graphs = []
    for _ in range(2):
        positions = -(-size // 64)
        ids = torch.from_numpy(rng.permutation(positions * 64) % size).reshape(positions, 64)
        z = torch.from_numpy(np.sort(rng.standard_normal((positions, 64)) + 5)[:, ::-1].copy())
        graphs.append(Graph(size, logits=z / positions**0.5, ids=ids))
    return Problem(*graphs)
