"""Bounds for two circulant graphs: a linear programme from below, and permutations that know the symmetry from above.

A graph is circulant if C_ik depends on (i - k) mod n only. Its nodes must be in that order.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from gldbench.gw.certified import programme_bound
from gldbench.gw.couplings import permutation
from gldbench.gw.local_search import two_opt
from gldbench.gw.problem import Array, NotApplicableError, Problem
from gldbench.gw.rounding import SAFE, TINY, UNIT, entry_error, gamma, lowered
from gldbench.gw.solvers.solver import OBJECTIVE, Answer, Solver

ROUNDS, ADDED = 5, 100
"""rounds of cutting planes, and the most violated constraints that each round adds"""
VIOLATED = 1e-7
"""a constraint counts as violated below minus this"""
STARTS = 5
"""multipliers from which 2-opt starts"""
NEAR = 1e-12
"""a graph counts as circulant if it is this near to one, relative to its norm; the bound accounts for the distance"""


def circulant(problem: Problem) -> Answer:
    """A linear programme over the masses y_ab that a coupling moves between the distances a of C and b of D.

    Let y_ab be the sum of pi_ij pi_kl over all pairs with |i - k| = a and |j - l| = b on the cycle. Then the cost is
    sum y_ab (c_a - d_b)^2, the sums of y over b and over a are the shares w_a and w_b of the distances, and y >= 0.
    The matrix vec(pi) vec(pi)^T is positive semi-definite, and so is its mean over all shifts of both cycles. Shifts
    commute, so its eigenvalues are sum y_ab cos(2 pi a j / n) cos(2 pi b k / n) / n^2 >= 0: linear in y (de Klerk and
    Sotirov 2010). For multipliers z_jk >= 0 the transport cost between w and w with the costs (c_a - d_b)^2 -
    sum z_jk cos cos is a lower bound, whatever solver proposed z. This is the value that is reported.

    Rounding: a cosine has the error 24 u, a sum over z that of its terms. The costs are lowered by it.
    """
    (c, d), metric = _rows(problem)
    n, h = problem.n, len(c)
    waves = np.cos(2 * np.pi * (np.outer(np.arange(h), np.arange(h)) % n) / n)
    shares = np.array([1 if 2 * a in (0, n) else 2 for a in range(h)]) / n
    squares = np.square(c[:, None] - d)
    z = _multipliers(squares, waves, shares)
    lost = SAFE * (gamma(4 * h + 100) * float(z.sum()))
    cost = squares * (1 - 4 * UNIT) - waves @ z @ waves.T - lost
    cost -= 4 * UNIT * np.abs(cost)
    value = programme_bound(cost, shares, shares, gamma(8))
    return Answer(lowered(max(0.0, value), 0.0, 0.0, metric))


def _rows(problem: Problem) -> tuple[tuple[Array, Array], float]:
    """The entries c_a and d_a [n // 2 + 1] at each distance, and how far the graphs are from being circulant."""
    problem.permutations_only()
    n = problem.n
    if n < 3:
        raise NotApplicableError("defined for at least 3 nodes")
    distance = (np.arange(n)[:, None] - np.arange(n)) % n
    distance = np.minimum(distance, n - distance)
    rows, metric = [], entry_error(problem)
    for graph in problem.arrays[:2]:
        row = graph[0, : n // 2 + 1]
        far = float(np.abs(graph - row[distance]).max())
        if far > NEAR * float(np.abs(graph).max()):
            raise NotApplicableError("defined for circulant graphs, whose entries depend on (i - k) mod n only")
        rows.append(row)
        metric += SAFE * far + (TINY if far else 0.0)
    return (rows[0], rows[1]), metric


def _multipliers(squares: Array, waves: Array, shares: Array) -> Array:
    """The multipliers z [h, h] of the constraints on the eigenvalues, by cutting planes."""
    h, scale = len(shares), float(squares.max()) or 1.0
    sums = sparse.vstack([sparse.kron(sparse.eye(h), np.ones((1, h))), sparse.kron(np.ones((1, h)), sparse.eye(h))])
    cuts: list[tuple[int, int]] = []
    z = np.zeros((h, h))
    for _ in range(ROUNDS + 1):
        planes = np.array([-np.outer(waves[:, j], waves[:, k]).ravel() for j, k in cuts]) if cuts else None
        found = linprog(
            squares.ravel() / scale,
            A_ub=planes,
            b_ub=None if planes is None else np.zeros(len(cuts)),
            A_eq=sums.tocsr(),
            b_eq=np.concatenate([shares, shares]),
            method="highs",
        )
        if found.status != 0:
            break
        z = np.zeros((h, h))
        for (j, k), slope in zip(cuts, found.ineqlin.marginals if cuts else (), strict=True):
            z[j, k] = max(0.0, -slope * scale)
        eigenvalues = waves.T @ found.x.reshape(h, h) @ waves
        order = np.argsort(eigenvalues, axis=None)[:ADDED]
        worst = [(int(x // h), int(x % h)) for x in order if eigenvalues.flat[x] < -VIOLATED]
        if not set(worst) - set(cuts):
            break
        cuts += [pair for pair in worst if pair not in cuts]
    return z


def circulant_two_opt(problem: Problem) -> Answer:
    """2-opt that starts from the best maps i -> a i mod n, with a and n coprime, which permute the distances.

    Shifts and reflections leave circulant graphs as they are, so these maps stand for all that respect the cycle.
    """
    _rows(problem)
    n = problem.n
    c, d, _, _ = problem.arrays
    maps = [a * np.arange(n) % n for a in range(1, n // 2 + 1) if np.gcd(a, n) == 1]
    maps.sort(key=lambda columns: _value(c, d, columns))
    found = [two_opt(c, d, columns) for columns in maps[:STARTS]]
    return Answer(coupling=permutation(min(found, key=lambda columns: _value(c, d, columns))))


def _value(c: Array, d: Array, columns: np.ndarray) -> float:
    return float(np.square(c - d[np.ix_(columns, columns)]).mean())


CIRCULANT = Solver(
    run=circulant,
    kind="lower",
    formula="min over y of sum y_ab (c_a - d_b)^2, with the sums and the eigenvalues of y as for a coupling",
    source="de Klerk and Sotirov (2010), Mathematical Programming 122, for two commuting symmetry groups",
    max_nodes=64,
    growth=3.0,
)
CIRCULANT_TWO_OPT = Solver(
    run=circulant_two_opt,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} over permutations, by swaps from multiplications modulo n",
    source="Croes (1958), Operations Research 6, with the automorphisms of the cyclic group as starts",
    max_nodes=512,
    growth=4.0,
)
