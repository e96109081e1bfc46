"""Two weighted graphs to be compared; entries, weights and sizes are checked where they enter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.graph import coactivation_graph, node_features

Array = NDArray[np.float64]
WEIGHT_TOLERANCE = 1e-6
"""how far from 1 the sum of given weights may be; they are then divided by it"""


class NotApplicableError(Exception):
    """Why a solver has no answer for this problem; becomes a null with a reason, or a skipped row."""


@dataclass(frozen=True)
class Graph:
    """Nodes with weights, and the symmetric matrix between them, or the logits that it comes from."""

    nodes: int
    matrix: Tensor | None = None
    """[n, n] float64; None where only the features are wanted"""
    weights: Tensor | None = None
    """[n] float64, positive, sum 1; None: uniform"""
    logits: Tensor | None = None
    """Z with C = Z^T Z: [T, n] on rank nodes, [T, k] with `ids` on vocabulary nodes"""
    ids: Tensor | None = None
    """[T, k]"""

    def features(self) -> Tensor:
        """f = C p [n]: O(T k) from logits, O(n^2) from a matrix."""
        if self.logits is not None:
            return node_features(self.logits, self.ids)
        if self.matrix is None:
            raise NotApplicableError("neither logits nor a matrix")
        return self.matrix.mean(-1) if self.weights is None else self.matrix @ self.weights

    def scaled(self, factor: float) -> Graph:
        """The graph with C multiplied by factor >= 0."""
        matrix = None if self.matrix is None else self.matrix * factor
        logits = None if self.logits is None else self.logits * factor**0.5
        return replace(self, matrix=matrix, logits=logits)

    def to(self, device: str) -> Graph:
        """The graph with its tensors on another device."""
        held = {name: getattr(self, name) for name in ("matrix", "weights", "logits", "ids")}
        return replace(self, **{name: None if t is None else t.to(device) for name, t in held.items()})


@dataclass(frozen=True)
class Problem:
    """The two graphs of a Gromov-Wasserstein distance."""

    a: Graph
    b: Graph

    @property
    def n(self) -> int:
        return self.a.nodes

    @property
    def m(self) -> int:
        return self.b.nodes

    @property
    def uniform(self) -> bool:
        """Both weights are uniform."""
        return self.a.weights is None and self.b.weights is None

    @property
    def weights(self) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """p and q as gldfusion.gw takes them: both None where both are uniform."""
        return (None, None) if self.uniform else (_full(self.a), _full(self.b))

    @property
    def matrices(self) -> tuple[Tensor, Tensor]:
        """C and D, or NotApplicableError where they were not built."""
        if self.a.matrix is None or self.b.matrix is None:
            raise NotApplicableError(f"reads the graphs, which are not built at {self.n} nodes")
        return self.a.matrix, self.b.matrix

    @cached_property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """C [n, n], D [m, m], p [n], q [m] in numpy."""
        c, d = self.matrices
        return c.cpu().numpy(), d.cpu().numpy(), _full(self.a).cpu().numpy(), _full(self.b).cpu().numpy()

    def permutations_only(self) -> None:
        """Raises NotApplicableError unless couplings can be permutations: n = m, uniform weights."""
        if self.n != self.m or not self.uniform:
            raise NotApplicableError("defined for permutations: equal sizes and uniform weights")

    def mass(self) -> float:
        """The larger of the two mean absolute edge weights; of the mean absolute features where no graph is built."""
        if self.a.matrix is None or self.b.matrix is None:
            return max(float(g.features().abs().mean()) for g in (self.a, self.b))
        c, d, p, q = self.arrays
        return max(float(p @ np.abs(c) @ p), float(q @ np.abs(d) @ q))

    def to_unit_mass(self) -> tuple[Problem, float]:
        """The problem divided by `mass()` (1 for two empty graphs), and that divisor.

        Squared distances shrink by the divisor's square. POT's stopping rules are absolute: on entries of 1e-5 its
        conditional gradient stops at once, so every solver gets unit mass.
        """
        divisor = self.mass() or 1.0
        return Problem(self.a.scaled(1 / divisor), self.b.scaled(1 / divisor)), divisor

    def to(self, device: str) -> Problem:
        """The problem on another device."""
        return Problem(self.a.to(device), self.b.to(device))


def _full(graph: Graph) -> Tensor:
    if graph.weights is not None:
        return graph.weights
    like = graph.matrix if graph.matrix is not None else graph.logits
    device = None if like is None else like.device
    return torch.full((graph.nodes,), 1 / graph.nodes, dtype=torch.float64, device=device)


def graph_from_matrix(matrix: NDArray, weights: NDArray | None, name: str) -> Graph:
    """A checked graph: nodes of zero weight are dropped, weights are divided by their sum.

    Raises:
        InputError: not a finite symmetric square matrix of numbers, or weights that do not fit it.
    """
    matrix = _numbers(matrix, name)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or 0 in matrix.shape:
        raise InputError(
            f"{name} must be a square matrix, got shape {list(matrix.shape)}\nfor logits T x k add --logits"
        )
    size = np.abs(matrix).max()
    if np.abs(matrix - matrix.T).max() > 1e-10 * size:
        raise InputError(
            f"{name} must be symmetric: the bounds hold for symmetric graphs only\nuse (A + A.T) / 2 if that is meant"
        )
    matrix = (matrix + matrix.T) / 2
    if weights is None:
        return Graph(len(matrix), torch.from_numpy(matrix))
    weights = _numbers(weights, f"the weights of {name}")
    if weights.shape != matrix.shape[:1] or (weights < 0).any() or abs(weights.sum() - 1) > WEIGHT_TOLERANCE:
        raise InputError(
            f"the weights of {name} must be {len(matrix)} numbers, none negative, with sum 1; "
            f"got shape {list(weights.shape)}, minimum {weights.min(initial=0):.3g}, sum {weights.sum():.6g}"
        )
    kept = weights > 0
    weights = np.asarray(weights[kept] / weights.sum())
    matrix = np.ascontiguousarray(matrix[np.ix_(kept, kept)])
    even = bool(weights.max() - weights.min() <= 1e-15)
    return Graph(len(matrix), torch.from_numpy(matrix), None if even else torch.from_numpy(weights))


def graph_from_logits(logits: NDArray, name: str) -> Graph:
    """C = Z^T Z from Z [T, k]: aggregation `sum`, uniform weights."""
    logits = _numbers(logits, name)
    if logits.ndim != 2 or 0 in logits.shape:
        raise InputError(f"{name} must hold logits T x k, got shape {list(logits.shape)}")
    z = torch.from_numpy(logits)
    return Graph(z.shape[1], coactivation_graph(z), logits=z)


def _numbers(values: NDArray, name: str) -> Array:
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise InputError(f"{name} must hold real numbers, got dtype {values.dtype}")
    values = np.ascontiguousarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds NaN or infinity: {int((~np.isfinite(values)).sum())} of {values.size} entries")
    return values
