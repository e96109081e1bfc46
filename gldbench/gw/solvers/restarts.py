"""A search over permutations that leaves local minima: 2-opt with random kicks, then tabu search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gldbench.gw.couplings import permutation
from gldbench.gw.local_search import swap_gains, two_opt
from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.solver import OBJECTIVE, Answer, Solver

Permutation = NDArray[np.int64]
KICKS, KICKED = 3, 8
"""random kicks per start and node of the graph, and the nodes whose images each kick rotates"""
SWAPS = 50
"""of the tabu search, per node of the graph"""
TENURE = 0.9, 1.1
"""a node may not return to an image for this many swaps, relative to n; drawn between the two"""
SMALLEST_GAIN = 1e-12
"""relative to the largest |C_ik| |D_jl|: a smaller gain may be rounding"""


def restarts(problem: Problem) -> Answer:
    """2-opt with random kicks, then tabu search: both leave local minima.

    There are three starts: the nodes' own order, which is good for two graphs on one vocabulary, the sorted coupling,
    and a random permutation with a fixed seed.
    """
    problem.permutations_only()
    c, d, _, _ = problem.arrays
    rng = np.random.default_rng(0)
    by_features = np.empty(problem.n, dtype=np.int64)
    by_features[c.sum(1).argsort()] = d.sum(1).argsort()
    starts = [np.arange(problem.n), by_features, rng.permutation(problem.n)]
    best = min((_kicked(c, d, start, rng) for start in starts), key=lambda columns: _cost(c, d, columns))
    return Answer(coupling=permutation(_tabu(c, d, best, rng)))


def _cost(c: Array, d: Array, columns: Permutation) -> float:
    return float(np.square(c - d[np.ix_(columns, columns)]).mean())


def _kicked(c: Array, d: Array, start: Permutation, rng: np.random.Generator) -> Permutation:
    """2-opt, repeated from the best permutation after the images of some random nodes were rotated."""
    best = two_opt(c, d, start)
    value, size = _cost(c, d, best), min(KICKED, len(c))
    for _ in range(KICKS * len(c)):
        nodes = rng.choice(len(c), size, replace=False)
        tried = best.copy()
        tried[nodes] = best[np.roll(nodes, 1)]
        tried = two_opt(c, d, tried)
        if (cost := _cost(c, d, tried)) < value:
            best, value = tried, cost
    return best


def _tabu(c: Array, d: Array, start: Permutation, rng: np.random.Generator) -> Permutation:
    """Tabu search (Taillard 1991): makes the best swap, even if it costs more, and forbids the way back for a while.

    A swap that gives the best permutation so far is allowed always.
    """
    n = len(c)
    columns, best = start.copy(), start.copy()
    gained, most = 0.0, 0.0
    free_at = np.zeros((n, n), dtype=np.int64)  # the swap from which node i may get the image j again
    smallest = SMALLEST_GAIN * float(np.abs(c).max() * np.abs(d).max())
    below = np.tri(n, dtype=bool)  # each swap counts once
    nodes = np.arange(n)
    for step in range(SWAPS * n if n > 2 else 0):
        gain = swap_gains(c, d[np.ix_(columns, columns)])
        forbidden = free_at[nodes[:, None], columns] > step
        gain[below | (forbidden & forbidden.T & (gained + gain <= most + smallest))] = -np.inf
        r, s = np.unravel_index(gain.argmax(), gain.shape)
        if gain[r, s] == -np.inf:
            continue
        gained += float(gain[r, s])
        free_at[[r, s], columns[[r, s]]] = step + 1 + rng.integers(int(TENURE[0] * n), int(TENURE[1] * n) + 2, 2)
        columns[[r, s]] = columns[[s, r]]
        if gained > most + smallest:
            best, most = columns.copy(), gained
    return best


RESTARTS = Solver(
    run=restarts,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} over permutations, by 2-opt, random kicks and tabu search",
    source="Lourenco, Martin and Stutzle (2003), Handbook of Metaheuristics; Taillard (1991), Parallel Computing 17",
    max_nodes=128,
    growth=3.0,
)
