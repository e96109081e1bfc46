"""A lower bound from a linear programme over products of pairs: the first level of reformulation-linearisation (RLT).

A permutation x has the products y_ijkl = x_ij x_kl. They satisfy sum_l y_ijkl = x_ij, sum_k y_ijkl = x_ij and
y_ijkl = y_klij >= 0. The least cost under these rules is a lower bound (Adams and Johnson 1994). If the rule
y_ijkl = y_klij gets multipliers U with U_klij = -U_ijkl, what is left falls into assignment problems: one for the
images of the other nodes for each pair i -> j, and one that chooses the pairs. `bound` solves them without a rounding
error that counts. It is right for every U, wherever U comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gldbench.gw.branch_and_bound import is_cyclic
from gldbench.gw.certified import on_grid
from gldbench.gw.exact import definite_error, monotone_error
from gldbench.gw.problem import Array, NotApplicableError, Problem
from gldbench.gw.rounding import SAFE, UNIT, entry_error, lowered
from gldbench.gw.solvers.solver import Answer, Solver

LARGEST = 64
"""nodes; the tensors of n^4 numbers take 70 MB each at this size"""
ROUNDS = 60
"""rounds of messages at LARGEST nodes; smaller graphs get more, up to four times as many"""
HOT, COLD = 0.6, 0.02
"""first and last temperature, relative to the spread of the products C_ik D_jl"""
TILE = 256
"""rows and columns of the part of the products that is transposed at once"""
NEVER = -1e9
"""the gain of a pair of pairs that no permutation contains"""


def rlt(problem: Problem) -> Answer:
    """First level of the reformulation-linearisation technique: a linear programme over pairs of matched nodes.

    It holds for permutations, so it applies where a permutation is optimal (see `gldbench.gw.exact`).
    """
    problem.permutations_only()
    if not 3 <= problem.n <= LARGEST:
        raise NotApplicableError(f"defined for 3 to {LARGEST} nodes")
    if monotone_error(problem) is not None:
        raise NotApplicableError("rank-monotone graphs: `exact` knows their distance")
    far = definite_error(problem)
    if far is None:
        raise NotApplicableError("indefinite graphs: no permutation is certified to attain the minimum")
    c, d = ((graph + graph.T) / 2 for graph in problem.arrays[:2])
    if is_cyclic(c) and is_cyclic(d):
        raise NotApplicableError("circulant graphs: `circulant` is a better bound there, and quicker")
    value, rounding = bound(c, d, multipliers(c, d))
    return Answer(lowered(max(0.0, value), 0.0, rounding, 2 * far + entry_error(problem)))


@dataclass
class _Messages:
    """Gains of the pairs x and of the products y, in units of the temperature, and what was moved between them.

    Messages are entropic projections on the rules. They keep the gain of every permutation.
    """

    products: Tensor
    """[n, n, n, n] float32: i, j, k, l"""
    pairs: Tensor
    """[n, n] float32: i, j"""
    moved: tuple[Tensor, Tensor]
    """[n, n, n] each: what left the products with i, j and k, and those with i, j and l, in the units of the graphs"""

    def symmetrise(self, factor: float) -> None:
        """Replaces y_ijkl and y_klij by their mean, and changes the unit by `factor`. Tiles fit into the cache."""
        self.pairs *= factor
        flat = self.products.view(self.pairs.numel(), -1)
        for first, rows in enumerate(flat.split(TILE)):
            for second, tile in enumerate(rows.split(TILE, 1)[: first + 1]):
                mirror = flat[second * TILE :][:TILE, first * TILE :][:, :TILE]
                mean = (tile + mirror.T).mul_(factor / 2)
                tile.copy_(mean)
                mirror.copy_(mean.T)

    def collect(self, temperature: float) -> None:
        """Moves the free energy of the products that share i, j and k to the pair i -> j, then that of i, j and l.

        The pair keeps the same share as each of its n - 1 groups of products.
        """
        n = len(self.pairs)
        nodes = torch.arange(n)
        for i, products in enumerate(self.products):  # [j, k, l]
            for axis, moved in ((2, self.moved[0][i]), (1, self.moved[1][i])):
                same = (slice(None), i) if axis == 2 else (nodes, nodes)
                free = torch.logsumexp(products, axis)
                free[same] = 0
                share = (self.pairs[i] + free.sum(1)) / n
                change = share[:, None] - free
                change[same] = 0
                self.pairs[i] = share
                products += change.unsqueeze(axis)
                moved.sub_(change, alpha=temperature)

    def balance(self) -> None:
        """Makes each row and each column of exp(pairs) sum to about 1."""
        for _ in range(3):
            for axis in (1, 0):
                self.pairs -= torch.logsumexp(self.pairs, axis, keepdim=True)


def multipliers(c: Array, d: Array) -> Tensor:
    """Proposes multipliers: W [n, n, n, n] float32, of which (W_ijkl - W_klij) / 2 is U.

    The gains 2 C_ik D_jl are smoothed by a temperature, which falls from HOT to COLD.
    """
    n = len(c)
    others = ~torch.eye(n, dtype=torch.bool)
    centred = [torch.from_numpy(graph - graph[~np.eye(n, dtype=bool)].mean()).float() for graph in (c, d)]
    unit = float(centred[0][others].std() * centred[1][others].std()) or 1.0
    rounds = round(ROUNDS * min(4.0, LARGEST / n))
    temperatures = [2 * unit * HOT * (COLD / HOT) ** (step / (rounds - 1)) for step in range(rounds)]
    state = _Messages(
        products=_gains(*centred) / temperatures[0],
        pairs=torch.from_numpy(2 * np.outer(c.diagonal(), d.diagonal())).float() / temperatures[0],
        moved=(torch.zeros(n, n, n), torch.zeros(n, n, n)),
    )
    before = temperatures[0]
    for temperature in temperatures:
        state.symmetrise(before / temperature)
        state.collect(temperature)
        state.balance()
        before = temperature
    left = state.products.mul_(before).sub_(_gains(*centred))
    return left.add_(state.moved[0][:, :, :, None]).add_(state.moved[1][:, :, None, :])


def _gains(c: Tensor, d: Tensor) -> Tensor:
    """2 C_ik D_jl [n, n, n, n], and NEVER where i = k or j = l."""
    nodes = torch.arange(len(c))
    gains = 2 * c[:, None, :, None] * d[None, :, None, :]
    gains[nodes, :, nodes, :] = NEVER
    gains[:, nodes, :, nodes] = NEVER
    return gains


def bound(c: Array, d: Array, proposed: Tensor) -> tuple[float, float]:
    """The bound of the mean squared difference that multipliers give, and its rounding error.

    Rounding: let K be the largest (C_ik - D_jl)^2 and V the largest |U|. U is antisymmetric to the last bit, because
    the rounding of a difference does not depend on its sign. An entry of an assignment problem is wrong by at most
    4 u (K + V), and its shift to non-negative numbers by 2 u (K + V) more. n (n - 1) of them are chosen. The optimum of
    a problem is a whole number of grid steps, without an error. To add the shift, and to do the same in the problem
    that chooses pairs, costs less than 32 u n (K + V) for each of n pairs. Together, after division by n^2, this is
    less than 64 u (K + V).
    """
    n = len(c)
    costs, largest = np.empty((n, n)), 0.0
    for i, (block, highest) in enumerate(_blocks(c, d, proposed)):
        costs[i] = np.square(c[i, i] - d.diagonal()) + _optima(block)
        largest = max(largest, highest)
    return float(_optima(costs[None])[0]) / n**2, 64 * SAFE * UNIT * largest


def _blocks(c: Array, d: Array, proposed: Tensor) -> Iterator[tuple[Array, float]]:
    """For each node i: the assignment problems [n, n - 1, n - 1] of its images j, and the largest K + V."""
    n = len(c)
    rest = np.array([np.delete(np.arange(n), j) for j in range(n)])
    for i in range(n):
        there, back = proposed[i].double().numpy(), proposed[:, :, i].double().permute(2, 0, 1).numpy()
        squares, u = np.square(c[i][None, :, None] - d[:, None, :]), (there - back) / 2
        u[:, i, :] = 0
        u[np.arange(n), :, np.arange(n)] = 0
        block = (squares - u)[:, rest[i]]
        yield np.take_along_axis(block, rest[:, None, :], 2), float(squares.max()) + float(np.abs(u).max())


def _optima(costs: Array) -> Array:
    """Lower bounds of the optima of assignment problems [count, r, r] with costs of any sign: [count]."""
    least = costs.min((1, 2))
    units, grid = on_grid(costs - least[:, None, None])
    sums = [matrix[linear_sum_assignment(matrix)].sum() for matrix in units]
    return grid * np.array(sums) + costs.shape[1] * least


RLT = Solver(
    run=rlt,
    kind="lower",
    formula="min over x, y of sum (C_ik - D_jl)^2 y_ijkl / n^2, where x is doubly stochastic, sum_l y_ijkl = "
    "sum_k y_ijkl = x_ij and y_ijkl = y_klij >= 0; the value of a dual solution that is nearly optimal",
    source="Adams and Johnson (1994), DIMACS 16, solved by entropic projections (Benamou et al. 2015)",
    max_nodes=LARGEST,
    growth=3.0,
)
