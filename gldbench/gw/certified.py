"""Lower bounds that need more than a sum: eigenvalues and optimal transport, with proven rounding errors.

A value that a library returns is never trusted. The eigenvalues are checked with their residual, the transport problem
is solved on integers or replaced by a dual solution that is feasible.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gldbench.gw.problem import Array, Graph
from gldbench.gw.rounding import SAFE, TINY, UNIT, gamma, size
from gldfusion.gw.transport import row_potentials


class Spectrum(NamedTuple):
    """The eigenvalues of a symmetric matrix, and a bound of their error."""

    values: Tensor
    """[n], ascending"""
    error: float
    """at least the Euclidean norm of (values - true eigenvalues)"""


def eigenvalues(matrix: Tensor) -> Spectrum:
    """The eigenvalues of a symmetric matrix M [n, n], with an error that is computed afterwards.

    Let V and L be the computed eigenvectors and eigenvalues, R = M - V L V^T and E = V^T V - I. With the polar
    decomposition V = Q H, the eigenvalues of V L V^T are those of H L H, and by Ostrowski's theorem they differ from L
    by at most the relative error |E|. By Hoffman and Wielandt those of M differ from them by at most |R|_F, in the
    Euclidean norm. The error of the computed R is at most gamma(n + 3) (| |V| |L| |V|^T |_F + |M|_F). The first norm is
    at most the sum of |L|, up to the lengths of the eigenvectors. That of the computed E is gamma(n + 1) n.
    """
    n = len(matrix)
    values, vectors = torch.linalg.eigh(matrix)
    identity = torch.eye(n, dtype=matrix.dtype, device=matrix.device)
    residual = float(torch.linalg.norm(matrix - (vectors * values) @ vectors.mT))
    skew = float(torch.linalg.norm(vectors.mT @ vectors - identity)) + 2 * gamma(n + 1) * n
    residual += gamma(n + 3) * (2 * float(values.abs().sum()) + float(torch.linalg.norm(matrix)))
    error = SAFE * (skew * float(torch.linalg.norm(values)) + residual) + TINY
    return Spectrum(values, error if skew < 0.5 else math.inf)


def off_constant_spectrum(graph: Graph, weights: Tensor | None, relative: float) -> Spectrum:
    """The eigenvalues of diag(sqrt p) C diag(sqrt p), projected onto the complement of sqrt p.

    The matrix has the entries sqrt(p_i p_j) (C_ij - f_i - f_j + c), with f = C p and c = p^T f. A bracket has the
    error gamma(n + 6) (|C_ij| + a_i + a_j + 2 a), where a_i and a are the features of |C| and their mean, plus
    `relative` times the last three terms. Each term has at most the norm `size`. The factor sqrt(p_i p_j) adds the
    relative errors `relative` and gamma(4). Together this is at most 8 (gamma(n + 10) + relative) times `size`.

    Args:
        graph: with its matrix C.
        weights: p [n]. None: uniform.
        relative: the largest relative error of a weight.
    """
    c = graph.matrix
    assert c is not None
    n = len(c)
    p = torch.full_like(c[0], 1 / n) if weights is None else weights
    features = c @ p
    centred = c - (features[:, None] + features) + p @ features
    root = p.sqrt()
    found = eigenvalues(torch.outer(root, root) * centred)
    return Spectrum(found.values, found.error + 8 * SAFE * (gamma(n + 10) + relative) * size(graph))


def assignment_bound(cost: Array) -> float:
    """A lower bound of the mean cost of the best assignment, for non-negative costs [n, n].

    The costs are rounded down to multiples of a power of 2, the grid. `linear_sum_assignment` adds and subtracts costs
    and potentials. A potential changes at most n times, by at most the largest cost, because the path to a free column
    is no longer than one edge with potentials 0. So no number exceeds (2 n + 2) times the largest cost. The grid makes
    all of them integers below 2^53, so the algorithm makes no rounding error. The loss is at most the grid.
    """
    units, grid = on_grid(cost)
    rows, columns = linear_sum_assignment(units)
    return float(units[rows, columns].sum()) * grid / len(cost) * (1 - 4 * UNIT)


def on_grid(cost: Array) -> tuple[Array, float]:
    """Non-negative costs [..., n, n] as whole multiples of a grid, rounded down, and the grid, a power of 2.

    The grid is so coarse that (2 n + 2) times the largest multiple is less than 2^53.
    """
    largest = float(cost.max(initial=0))
    if largest < TINY**2:
        return np.zeros_like(cost), 1.0
    grid = 2.0 ** (math.frexp((2 * cost.shape[-1] + 2) * largest)[1] - 53)
    return np.floor(cost / grid), grid


def programme_bound(cost: Array, p: Array, q: Array, relative: float) -> float:
    """A lower bound of the transport cost between weights p [n] and q [m]: the value of a feasible dual solution.

    HiGHS proposes the potentials u. For any u, v_j = min_i (cost_ij - u_i) makes the pair feasible, so p^T u + q^T v is
    a lower bound. Its terms have the relative error gamma(n + m + 4), and `relative` by the weights.
    """
    u = row_potentials(cost, p, q)
    v = (cost - u[:, None]).min(0)
    terms = float(p @ np.abs(u) + q @ np.abs(v))
    return float(p @ u + q @ v) - SAFE * (gamma(len(p) + len(q) + 4) + 2 * relative) * terms
