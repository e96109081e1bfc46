"""Exact minimum of sum (C_ik - D_c(i)c(k))^2 over permutations c, by branch and bound with Gilmore-Lawler bounds.

A node of the search tree fixes some pairs (row, column). Its bound has two parts. The first is the cost of the fixed
pairs. The second is the optimum of an assignment problem of the free rows and columns. Entry (i, j) of that problem
adds two terms (Gilmore 1962, Lawler 1963): the cost of i -> j against itself and the fixed pairs, and the cost of
matching the other free entries of row i of C, in sorted order, with those of row j of D.

The reduced costs of the assignment bound each child before it is created. The search branches on the row or column
that prunes most. Twins are columns that can be swapped without a change of D (or rows, of C); the search tries only one
of them. If a shift of all nodes leaves D (or C) as it is, the search tries only one image of the first node. It bounds
nodes in batches of one depth, the deepest first.

No bound is too high by rounding. The entries of an assignment problem are lowered by their own error and rounded down
to integers times a grid, so that the assignment and the reduced costs have no rounding error (see `on_grid`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gldbench.gw.certified import on_grid
from gldbench.gw.local_search import two_opt
from gldbench.gw.problem import Array
from gldbench.gw.rounding import UNIT, gamma

Index = NDArray[np.int64]
BATCH = 256
"""nodes that are bounded at once"""
RESTARTS = 8
"""random permutations from which 2-opt looks for a first solution"""
PRECISION = 1e-13
"""a node is closed if it can improve the best solution by this share of |C|^2 + |D|^2 at most"""


class Node(NamedTuple):
    """A partial permutation: rows[t] -> columns[t]."""

    bound: float
    """every permutation that completes the node has at least this sum of squared differences"""
    rows: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Optimum:
    """The result of the search."""

    value: float
    """GW_2^2 of `columns`"""
    columns: Index
    lower: float
    """a certified lower bound of the minimum; `value` but for PRECISION if the search was finished"""
    nodes: int
    """nodes of the tree that were bounded"""
    proved: bool
    """whether the search was finished, so that `value` is the minimum"""


@dataclass
class _Search:
    """The state of one search."""

    c: Array
    d: Array
    best: float
    columns: Index
    slack: float
    """a node is closed if its bound is within this of `best`; `lower` accounts for it"""
    open: list[list[Node]]
    """open nodes, by depth"""
    nodes: int = 0
    leaves: float = np.inf
    """the smallest bound of a node whose permutations were all tried"""
    twins: tuple[Index, Index] = field(init=False)
    cyclic: tuple[bool, bool] = field(init=False)
    """whether a shift of all nodes leaves C, or D, as it is: then all images of the first node are alike"""
    errors: tuple[Array, Array] = field(init=False)
    """[n] each: the sum of the two for a row and a column is at least the rounding error of their cost"""

    def __post_init__(self) -> None:
        share = 4 * gamma(4 * len(self.c) + 40)
        self.errors = share * np.square(self.c).sum(1), share * np.square(self.d).sum(1)
        self.cyclic = is_cyclic(self.c), is_cyclic(self.d)
        self.twins = _twin_classes(self.c), _twin_classes(self.d)

    @property
    def limit(self) -> float:
        """Nodes with this bound or a larger one are closed."""
        return self.best - self.slack


def branch_and_bound(c: Array, d: Array, seconds: float, seed: int = 0) -> Optimum:
    """Searches for the permutation that matches two symmetric matrices best.

    Args:
        c, d: [n, n].
        seconds: time limit. The search bounds at least one batch of nodes.
        seed: of the random permutations from which 2-opt starts.

    Returns:
        The best permutation found, a lower bound, and whether the permutation is proved to be the best.
    """
    n = len(c)
    ends = time.perf_counter() + seconds
    value, columns = _incumbent(c, d, np.random.default_rng(seed))
    slack = PRECISION * float((c**2).sum() + (d**2).sum())
    search = _Search(c=c, d=d, best=value, columns=columns, slack=slack, open=[[] for _ in range(n + 1)])
    search.open[0].append(Node(0.0, (), ()))
    while (depth := max((k for k in range(n + 1) if search.open[k]), default=None)) is not None:
        if time.perf_counter() > ends and search.nodes:
            break
        _expand(search, _take(search, depth), depth)
    left = min((node.bound for nodes in search.open for node in nodes), default=np.inf)
    lower = max(0.0, min(search.limit, left, search.leaves)) / n**2 * (1 - 4 * UNIT)
    return Optimum(
        value=search.best / n**2,
        columns=search.columns,
        lower=lower,
        nodes=search.nodes,
        proved=bool(left >= search.limit),
    )


def _objective(c: Array, d: Array, columns: Index) -> Array:
    """The sum of squared differences [...] for permutations [..., n]."""
    return np.square(c - d[columns[..., :, None], columns[..., None, :]]).sum((-2, -1))


def _incumbent(c: Array, d: Array, rng: np.random.Generator) -> tuple[float, Index]:
    """The cost and the permutation of the best 2-opt run, from the sorted coupling and from random permutations."""
    n = len(c)
    by_features = np.empty(n, dtype=np.int64)
    by_features[c.sum(1).argsort()] = d.sum(1).argsort()
    starts = [by_features, *(rng.permutation(n) for _ in range(RESTARTS))]
    found = np.stack([two_opt(c, d, start) for start in starts])
    costs = _objective(c, d, found)
    return float(costs.min()), found[costs.argmin()]


def _twin_classes(graph: Array) -> Index:
    """The class of each node [n]. Two nodes share a class if swapping them does not change the graph."""
    n = len(graph)
    classes = np.arange(n)
    for i in range(n):
        for j in range(i):
            swap = np.arange(n)
            swap[[i, j]] = j, i
            if classes[j] == j and np.array_equal(graph[np.ix_(swap, swap)], graph):
                classes[i] = j
                break
    return classes


def is_cyclic(graph: Array) -> bool:
    """Whether the shift i -> i + 1 mod n leaves the graph as it is."""
    return np.array_equal(np.roll(graph, (1, 1), (0, 1)), graph)


def _take(search: _Search, depth: int) -> list[Node]:
    """Removes and returns the most promising open nodes of a depth. Drops nodes that can no longer win."""
    nodes = sorted((node for node in search.open[depth] if node.bound < search.limit), key=lambda node: -node.bound)
    search.open[depth] = nodes[:-BATCH]
    return nodes[-BATCH:]


def _expand(search: _Search, nodes: list[Node], depth: int) -> None:
    """Bounds nodes of one depth, tries their assignments as permutations, and opens children that may win."""
    if not nodes:
        return
    count, n = len(nodes), len(search.c)
    search.nodes += count
    rows = np.array([node.rows for node in nodes], dtype=np.int64).reshape(count, depth)
    columns = np.array([node.columns for node in nodes], dtype=np.int64).reshape(count, depth)
    free_rows, free_columns = _free(rows, n), _free(columns, n)
    costs, grid = on_grid(_costs(search, rows, columns, free_rows, free_columns))
    chosen = np.stack([linear_sum_assignment(matrix)[1] for matrix in costs])
    fixed = np.square(_block(search.c, rows, rows) - _block(search.d, columns, columns)).sum((1, 2))
    bounds = fixed * (1 - gamma(depth**2 + 8)) + grid * np.take_along_axis(costs, chosen[:, :, None], 2).sum((1, 2))
    bounds = np.maximum(bounds * (1 - 2 * UNIT), [node.bound for node in nodes])
    _try(search, rows, columns, free_rows, np.take_along_axis(free_columns, chosen, 1))
    if n - depth <= 2:  # with two free nodes the assignment is the better of the two permutations
        search.leaves = min(search.leaves, float(bounds.min()))
        return
    live = np.nonzero(bounds < search.limit)[0]
    if len(live):
        reduced = grid * _reduced_costs(costs[live], chosen[live])
        for index, gaps in zip(live, reduced, strict=True):
            _branch(search, nodes[index], bounds[index], gaps, free_rows[index], free_columns[index])


def _free(fixed: Index, n: int) -> Index:
    """The nodes that are not in `fixed` [count, depth], ascending: [count, n - depth]."""
    free = np.ones((len(fixed), n), dtype=bool)
    np.put_along_axis(free, fixed, False, 1)
    return np.nonzero(free)[1].reshape(len(fixed), -1)


def _block(graph: Array, rows: Index, columns: Index) -> Array:
    """The entries [count, r, s] in rows [count, r] and columns [count, s]."""
    return graph[rows[:, :, None], columns[:, None, :]]


def _costs(search: _Search, rows: Index, columns: Index, free_rows: Index, free_columns: Index) -> Array:
    """The cost matrix of each node's assignment problem: [count, u, u] for u free rows and columns.

    Rounding: let S be the sum of squares of row i of C and of row j of D. Each of the three terms is at most 2 S, and
    so are their parts a^2, b^2 and 2 a b. A part is a sum of at most n products. So the entry is wrong by at most
    4 gamma(2 n + 20) S, and the entry minus that error is not above the true cost.
    """
    own = search.c.diagonal()[free_rows][:, :, None] - search.d.diagonal()[free_columns][:, None, :]
    against = _squares(_block(search.c, free_rows, rows), _block(search.d, free_columns, columns))
    rest = _squares(_sorted_off_diagonal(search.c, free_rows), _sorted_off_diagonal(search.d, free_columns))
    c_errors, d_errors = search.errors
    errors = c_errors[free_rows][:, :, None] + d_errors[free_columns][:, None, :]
    return np.maximum(own**2 + 2 * against + rest - errors, 0)


def _squares(a: Array, b: Array) -> Array:
    """Squared distances between rows of a [count, u, r] and b [count, u, r]: [count, u, u]."""
    squares = (a * a).sum(-1)[:, :, None] + (b * b).sum(-1)[:, None, :] - 2 * a @ b.transpose(0, 2, 1)
    return np.maximum(squares, 0)


def _sorted_off_diagonal(graph: Array, free: Index) -> Array:
    """The rows of the free block, without the diagonal and sorted: [count, u, u - 1]."""
    block = _block(graph, free, free)
    index = np.arange(free.shape[1])
    block[:, index, index] = np.inf
    block.sort(-1)
    return block[:, :, :-1]


def _try(search: _Search, rows: Index, columns: Index, free_rows: Index, free_columns: Index) -> None:
    """Completes each node to a permutation, and keeps the best one if it beats the best so far."""
    whole = np.empty((len(rows), len(search.c)), dtype=np.int64)
    np.put_along_axis(whole, rows, columns, 1)
    np.put_along_axis(whole, free_rows, free_columns, 1)
    costs = _objective(search.c, search.d, whole)
    if costs.min() < search.best:
        search.best, search.columns = float(costs.min()), whole[costs.argmin()]


def _reduced_costs(costs: Array, chosen: Index) -> Array:
    """By how much the bound grows at least if the assignment must contain an entry: [count, u, u].

    The result is 0 on the assignment and never negative. Its columns are in the order of `costs`. The potentials are
    shortest paths in the residual graph (Bellman-Ford).
    """
    permuted = np.take_along_axis(costs, chosen[:, None, :], 2)
    steps = permuted - np.einsum("bii->bi", permuted)[:, :, None]
    potential = np.zeros(steps.shape[:2])
    for _ in range(steps.shape[1]):
        shorter = np.minimum(potential, (potential[:, :, None] + steps).min(1))
        if np.array_equal(shorter, potential):
            break
        potential = shorter
    slack = np.maximum(steps + potential[:, :, None] - potential[:, None, :], 0)
    reduced = np.empty_like(slack)
    np.put_along_axis(reduced, np.broadcast_to(chosen[:, None, :], slack.shape), slack, 2)
    return reduced


def _branch(search: _Search, node: Node, bound: float, gaps: Array, free_rows: Index, free_columns: Index) -> None:
    """Opens the children of a node along the row or the column that prunes most."""
    closed = np.minimum(gaps, search.limit - bound)
    by_row, by_column = closed.sum(1), closed.sum(0)
    depth = len(node.rows) + 1
    along_row = by_row.max() >= by_column.max()
    if depth == 1 and any(search.cyclic):
        along_row = search.cyclic[1]
    line = gaps[by_row.argmax()] if along_row else gaps[:, by_column.argmax()]
    choices = free_columns if along_row else free_rows
    seen: set[int] = set()
    for gap, choice in zip(line, choices, strict=True):
        twin = int(search.twins[1 if along_row else 0][choice])
        child = (bound + gap) * (1 - 2 * UNIT)
        if child < search.limit and twin not in seen:
            row, column = (
                (free_rows[by_row.argmax()], choice) if along_row else (choice, free_columns[by_column.argmax()])
            )
            search.open[depth].append(Node(child, (*node.rows, int(row)), (*node.columns, int(column))))
        seen.add(twin)
        if depth == 1 and search.cyclic[1 if along_row else 0]:
            return
