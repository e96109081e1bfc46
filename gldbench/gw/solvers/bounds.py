"""The lower bounds of GW_2^2 and the paper's approximation. `gldfusion.gw` computes them and explains them.

Each lower bound is then rounded down by a proven error. `gldbench.gw.rounding` defines the terms of the proofs.
"""

from __future__ import annotations

import numpy as np

from gldbench.gw.certified import assignment_bound, off_constant_spectrum, programme_bound
from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.rounding import UNIT, entry_error, feature_error, gamma, line_error, lowered, spread, weight_error
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw

MEMOLI = "Memoli (2011), Foundations of Computational Mathematics 11"
LARGEST_PROGRAMME = 300 * 300
"""n m above which `tlb` takes minutes if it needs a linear programme"""


def ggw(problem: Problem) -> Answer:
    """The paper's approximation: the mean difference of the sorted node features (ggw_mean)."""
    return Answer(float(gw.ggw_mean(problem.a.features(), problem.b.features(), *problem.weights)))


def flb(problem: Problem) -> Answer:
    """First lower bound: the squared Wasserstein distance between the node features.

    Rounding: a sum of P <= n + m non-negative terms. W_2 is a metric, so the errors of the features count as they are.
    """
    f, g = problem.a.features(), problem.b.features()
    pieces = problem.n + problem.m
    line = line_error(pieces, sum(weight_error(problem))) * spread(f, g) ** 2
    value = float(gw.flb(f, g, *problem.weights))
    return Answer(lowered(value, gamma(pieces + 8), line, feature_error(problem)))


def anova(problem: Problem) -> Answer:
    """The mean and the main effects of the Hoeffding decomposition, computed from the node features.

    Rounding: let F be `flb` and s the mean of the gaps. The bound is 2 F - s^2 >= F. The computed s is wrong by at most
    gamma(P + 3) sqrt(F), and so is each gap - s in the norm of the matching, so s^2 + 2 sum (gap - s)^2 is wrong
    by at most 9 gamma(P + 5) F. Wrong masses change F by one line error, and s^2 by at most two. The bound is the least
    norm of a function (c - d) + (f - c - g + d)(x) + (f - c - g + d)(y); features that are wrong by e change that norm
    by at most sqrt(2) e.
    """
    f, g = problem.a.features(), problem.b.features()
    pieces = problem.n + problem.m
    line = 4 * line_error(pieces, sum(weight_error(problem))) * spread(f, g) ** 2
    value = float(gw.anova(f, g, *problem.weights))
    return Answer(lowered(value, gamma(10 * pieces + 60), line, 1.5 * feature_error(problem)))


def slb(problem: Problem) -> Answer:
    """Second lower bound: the squared Wasserstein distance between all entries, in O(n^2 log n).

    Rounding: as for `flb`, with n^2 + m^2 pieces. A weight p_i p_k has twice the relative error of p_i.
    """
    c, d = problem.matrices
    pieces = problem.n**2 + problem.m**2
    weights = sum(weight_error(problem))
    if weights:
        weights = 2 * weights + gamma(2 * pieces)
    line = line_error(pieces, weights) * spread(c, d) ** 2
    value = float(gw.slb(c, d, *problem.weights))
    return Answer(lowered(value, gamma(pieces + 8), line, entry_error(problem)))


def proj(problem: Problem) -> Answer:
    """The bound `anova` plus the distance between the spectra of the projected graphs, in O(n^3).

    Rounding: the spectra, sorted and padded with 0 for each sign, are a metric in the sorted eigenvalues. So the errors
    of the eigenvalues count as they are. A wrong graph changes its eigenvalues by at most its norm, because the
    projection does not increase norms (Hoffman and Wielandt). Both parts are non-negative and rounded down.
    """
    _ = problem.matrices  # refuses graphs that are not built
    sides = zip((problem.a, problem.b), problem.weights, weight_error(problem), strict=True)
    spectra = [off_constant_spectrum(*side) for side in sides]
    difference = float(gw.spectral_gap(*(spectrum.values for spectrum in spectra)))
    error = sum(spectrum.error for spectrum in spectra) + entry_error(problem)
    rest = lowered(difference, gamma(2 * (problem.n + problem.m) + 8), 0.0, error)
    effects = anova(problem).value
    assert effects is not None
    return Answer((effects + rest) * (1 - 4 * UNIT))


def tlb(problem: Problem) -> Answer:
    """Third lower bound: optimal transport between the sorted rows of the graphs.

    For n = m and uniform weights this is an assignment problem, otherwise a linear programme, of which a feasible dual
    solution counts. Rounding: each cost is lowered by its own error. With weights it is a sum of P = n + m non-negative
    terms, and has a line error. Without weights it is s_i + t_j - 2 x_ij, where s_i and t_j are mean squares of
    rows after a shift, and x_ij is at most their mean. That is wrong by at most gamma(2 P + 30) (s_i + t_j).
    """
    n, m = problem.n, problem.m
    if (n != m or not problem.uniform) and n * m > LARGEST_PROGRAMME:
        raise NotApplicableError(f"the linear programme of {n} x {m} nodes takes minutes")
    c, d, p, q = problem.arrays
    cost = gw.row_costs(*problem.matrices, *problem.weights).numpy()
    weights = sum(weight_error(problem))
    if problem.uniform:
        middle = (c.mean() + d.mean()) / 2
        squares = np.square(c - middle).mean(1)[:, None] + np.square(d - middle).mean(1)
        cost = cost - gamma(4 * (n + m) + 60) * squares
    else:
        cost = cost * (1 - gamma(n + m + 8)) - line_error(n + m, weights) * spread(*problem.matrices) ** 2
    cost = np.maximum(cost, 0.0)
    value = assignment_bound(cost) if problem.uniform and n == m else programme_bound(cost, p, q, weights)
    return Answer(lowered(max(0.0, value), 0.0, 0.0, entry_error(problem)))


GGW = Solver(
    run=ggw,
    kind="paper",
    formula="W_1(f, g), with the node features f = C p and g = D q",
    source="InfiGFusion (arXiv 2505.13893)",
    max_nodes=10**7,
    growth=1.1,
    gpu=True,
)
FLB = Solver(
    run=flb,
    kind="lower",
    formula="W_2^2(f, g), with the node features f = C p and g = D q",
    source=f"{MEMOLI}, FLB",
    max_nodes=10**7,
    growth=1.1,
    gpu=True,
)
ANOVA = Solver(
    run=anova,
    kind="lower",
    formula="(c - d)^2 + 2 W_2^2(f - c, g - d), with f = C p, g = D q and their means c and d",
    source="gldfusion.gw, with the decomposition of Hoeffding (1948)",
    max_nodes=10**7,
    growth=1.1,
    gpu=True,
)
SLB = Solver(
    run=slb,
    kind="lower",
    formula="W_2^2 between the entries C_ik (weights p_i p_k) and D_jl (weights q_j q_l)",
    source=f"{MEMOLI}, SLB",
    max_nodes=4096,
    growth=2.2,
    gpu=True,
)
PROJ = Solver(
    run=proj,
    kind="lower",
    formula="anova + |spectrum(C') - spectrum(D')|^2, where C' is diag(sqrt p) C diag(sqrt p) projected onto the "
    "complement of sqrt p, and D' likewise; positive and negative eigenvalues are compared separately",
    source="Hadley, Rendl and Wolkowicz (1992), Mathematics of Operations Research 17",
    max_nodes=4096,
    growth=3.0,
    gpu=True,
)
TLB = Solver(
    run=tlb,
    kind="lower",
    formula="min over couplings pi of sum pi_ij W_2^2(row i of C, row j of D)",
    source=f"{MEMOLI}, TLB",
    max_nodes=2048,
    growth=3.0,
)
