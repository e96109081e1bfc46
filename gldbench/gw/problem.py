"""A pair of weighted graphs, and the functions that read and check the graphs of a user."""

from __future__ import annotations

import math
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
"""the sum of given weights may differ from 1 by this much; the weights are then divided by their sum"""


SMALLEST, LARGEST = 1e-140, 1e140
"""limits of the largest entry of a graph, unless it is 0: beyond them, sums of squares leave the range of float64"""


class NotApplicableError(Exception):
    """A solver has no answer for this problem. The message says why: `gw solve` shows it, the bench stores it."""


@dataclass(frozen=True)
class Graph:
    """Weighted nodes with a symmetric cost matrix C, or with the logits that C is computed from."""

    nodes: int
    matrix: Tensor | None = None
    """C [n, n] float64; None if the graph is too large to build it"""
    weights: Tensor | None = None
    """p [n] float64, positive, with sum 1; None: uniform"""
    logits: Tensor | None = None
    """Z with C = Z^T Z, for T positions: [T, n] on rank nodes, [T, k] with `ids` on vocabulary nodes"""
    ids: Tensor | None = None
    """vocabulary ids of the logits [T, k]; None on rank nodes"""

    def features(self) -> Tensor:
        """The node features f = C p [n], in O(T k) from logits or O(n^2) from the matrix."""
        if self.logits is not None:
            return node_features(self.logits, self.ids)
        if self.matrix is None:
            raise NotApplicableError("neither logits nor a matrix")
        return self.matrix.mean(-1) if self.weights is None else self.matrix @ self.weights

    def scaled(self, factor: float) -> Graph:
        """The graph with C multiplied by `factor`, which must not be negative."""
        matrix = None if self.matrix is None else self.matrix * factor
        logits = None if self.logits is None else self.logits * factor**0.5
        return replace(self, matrix=matrix, logits=logits)

    def to(self, device: str) -> Graph:
        """The graph with its tensors on another device."""
        held = {name: getattr(self, name) for name in ("matrix", "weights", "logits", "ids")}
        return replace(self, **{name: None if t is None else t.to(device) for name, t in held.items()})


@dataclass(frozen=True)
class Problem:
    """The two graphs of a Gromov-Wasserstein distance: `a` with n nodes, C and p; `b` with m nodes, D and q."""

    a: Graph
    b: Graph

    @property
    def n(self) -> int:
        """Nodes of graph a."""
        return self.a.nodes

    @property
    def m(self) -> int:
        """Nodes of graph b."""
        return self.b.nodes

    @property
    def uniform(self) -> bool:
        """Whether both graphs have uniform weights."""
        return self.a.weights is None and self.b.weights is None

    @property
    def weights(self) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """p [n] and q [m], as the functions of gldfusion.gw take them: both None if both are uniform."""
        return (None, None) if self.uniform else (_full(self.a), _full(self.b))

    @property
    def matrices(self) -> tuple[Tensor, Tensor]:
        """C [n, n] and D [m, m], float64, on the device of the problem.

        Raises:
            NotApplicableError: the graphs are too large and were not built.
        """
        if self.a.matrix is None or self.b.matrix is None:
            raise NotApplicableError(f"reads the graphs, which are not built at {self.n} nodes")
        return self.a.matrix, self.b.matrix

    @cached_property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """C [n, n], D [m, m], p [n] and q [m] as numpy arrays of float64. Raises as `matrices` does."""
        c, d = self.matrices
        return c.cpu().numpy(), d.cpu().numpy(), _full(self.a).cpu().numpy(), _full(self.b).cpu().numpy()

    def permutations_only(self) -> None:
        """Checks that couplings can be permutations.

        Raises:
            NotApplicableError: n differs from m, or weights are not uniform.
        """
        if self.n != self.m or not self.uniform:
            raise NotApplicableError("defined for permutations: equal sizes and uniform weights")

    def mass(self) -> float:
        """The larger of the two graphs' mean absolute edge weights, or of their mean absolute features if not built."""
        if self.a.matrix is None or self.b.matrix is None:
            return max(float(g.features().abs().mean()) for g in (self.a, self.b))
        c, d, p, q = self.arrays
        return max(float(p @ np.abs(c) @ p), float(q @ np.abs(d) @ q))

    def to_unit_mass(self) -> tuple[Problem, float]:
        """Divides both graphs by `mass()`, so that every solver gets graphs of unit mass.

        POT's stopping rules are absolute: with entries of 1e-5 its conditional gradient stops at once.

        Returns:
            The problem, and the divisor (1 for two empty graphs). GW_2^2 is divided by the square of the divisor.
        """
        divisor = self.mass() or 1.0
        return Problem(self.a.scaled(1 / divisor), self.b.scaled(1 / divisor)), divisor

    def scaled_exactly(self) -> tuple[Problem, float]:
        """Divides both graphs by a power of 4 near `mass()`, which makes no rounding error, not even in the logits.

        Returns:
            The problem, and the divisor (1 for two empty graphs). The mass of the problem is then between 1/2 and 2. It
            is less if nearly all weight is on nodes with tiny entries: no entry may become larger than 1e20.
        """
        graphs = [g.matrix for g in (self.a, self.b) if g.matrix is not None]
        mass = max([self.mass(), *(1e-20 * float(c.abs().max()) for c in graphs)])
        divisor = 4.0 ** round(math.log(mass, 4)) if mass else 1.0
        return Problem(self.a.scaled(1 / divisor), self.b.scaled(1 / divisor)), divisor

    def to(self, device: str) -> Problem:
        """The problem on another device."""
        return Problem(self.a.to(device), self.b.to(device))


def _full(graph: Graph) -> Tensor:
    """The weights [n], written out if they are uniform."""
    if graph.weights is not None:
        return graph.weights
    like = graph.matrix if graph.matrix is not None else graph.logits
    device = None if like is None else like.device
    return torch.full((graph.nodes,), 1 / graph.nodes, dtype=torch.float64, device=device)


def graph_from_matrix(matrix: NDArray, weights: NDArray | None, name: str) -> Graph:
    """Checks a cost matrix and its weights, and makes a graph of them.

    Nodes of weight 0 are dropped, and the weights are divided by their sum.

    Args:
        matrix: [n, n].
        weights: [n]. None: uniform.
        name: of the matrix, for messages.

    Raises:
        InputError: the matrix is not square, symmetric, finite and real, its entries are so large or so small that
            their squares leave the range of float64, or the weights do not fit it.
    """
    matrix = _numbers(matrix, name)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or 0 in matrix.shape:
        raise InputError(
            f"{name} must be a square matrix, got shape {list(matrix.shape)}\nif it holds logits T x k, add --logits"
        )
    size = np.abs(matrix).max()
    _check_range(size, name, "entry", 1)
    if np.abs(matrix - matrix.T).max() > 1e-10 * size:
        raise InputError(
            f"{name} must be symmetric: the bounds hold for symmetric graphs only\n"
            "if its symmetric part is what you mean, save (A + A.T) / 2"
        )
    matrix = (matrix + matrix.T) / 2
    if weights is None:
        return Graph(len(matrix), torch.from_numpy(matrix))
    weights = _numbers(weights, f"the weights of {name}")
    if weights.shape != matrix.shape[:1] or (weights < 0).any() or abs(weights.sum() - 1) > WEIGHT_TOLERANCE:
        raise InputError(
            f"the weights of {name} must be {len(matrix)} numbers, none negative, with sum 1\n"
            f"got shape {list(weights.shape)}, minimum {weights.min(initial=0):.3g}, sum {weights.sum():.6g}"
        )
    kept = weights > 0
    weights = np.asarray(weights[kept] / weights.sum())
    matrix = np.ascontiguousarray(matrix[np.ix_(kept, kept)])
    even = bool(weights.max() - weights.min() <= 1e-15)
    return Graph(len(matrix), torch.from_numpy(matrix), None if even else torch.from_numpy(weights))


def graph_from_logits(logits: NDArray, name: str) -> Graph:
    """Makes the co-activation graph C = Z^T Z of logits (aggregation `sum`), with uniform weights.

    Args:
        logits: Z [T, k]: k logits at each of T positions.
        name: of the logits, for messages.

    Raises:
        InputError: the logits are not a finite, real, non-empty matrix, or they are so large or so small that the
            squares of the entries of C leave the range of float64.
    """
    logits = _numbers(logits, name)
    if logits.ndim != 2 or 0 in logits.shape:
        raise InputError(f"{name} must hold logits T x k (positions x kept logits), got shape {list(logits.shape)}")
    _check_range(np.abs(logits).max(), name, "logit", 0.5)
    z = torch.from_numpy(logits)
    return Graph(z.shape[1], coactivation_graph(z), logits=z)


def _check_range(largest: float, name: str, what: str, power: float) -> None:
    """Checks that the squares of the entries of a graph neither overflow nor underflow.

    Args:
        largest: the largest absolute entry, or logit.
        name: of the input, for messages.
        what: "entry" or "logit".
        power: an entry of the graph to this power has the size of `largest`.

    Raises:
        InputError: they do.
    """
    low, high = SMALLEST**power, LARGEST**power
    if largest == 0 or low <= largest <= high:
        return
    flow, way = ("underflow", "up") if largest < low else ("overflow", "down")
    raise InputError(
        f"{name} must have its largest {what} between {low:.0e} and {high:.0e} in size, or hold zeros only\n"
        f"got {largest:.2g}: squares of the graph's entries {flow}\nscale both graphs {way}"
    )


def _numbers(values: NDArray, name: str) -> Array:
    """The values as float64.

    Raises:
        InputError: they are not real numbers, or not finite.
    """
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise InputError(f"{name} must hold real numbers, got dtype {values.dtype}")
    values = np.ascontiguousarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds NaN or infinity: {int((~np.isfinite(values)).sum())} of {values.size} entries")
    return values
