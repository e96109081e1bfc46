"""The lower bounds of GW_2^2 and the paper's approximation. `gldfusion.gw` computes them and explains them."""

from __future__ import annotations

from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.solvers.solver import Answer, Solver
from gldfusion import gw

MEMOLI = "Memoli (2011), Foundations of Computational Mathematics 11"
LARGEST_PROGRAMME = 300 * 300
"""n m above which `tlb` takes minutes if it needs a linear programme"""


def ggw(problem: Problem) -> Answer:
    """The paper's approximation: the mean difference of the sorted node features (ggw_mean)."""
    return Answer(float(gw.ggw_mean(problem.a.features(), problem.b.features(), *problem.weights)))


def flb(problem: Problem) -> Answer:
    """First lower bound: the squared Wasserstein distance between the node features."""
    return Answer(float(gw.flb(problem.a.features(), problem.b.features(), *problem.weights)))


def anova(problem: Problem) -> Answer:
    """The mean and the main effects of the Hoeffding decomposition, computed from the node features."""
    return Answer(float(gw.anova(problem.a.features(), problem.b.features(), *problem.weights)))


def slb(problem: Problem) -> Answer:
    """Second lower bound: the squared Wasserstein distance between all entries, in O(n^2 log n)."""
    return Answer(float(gw.slb(*problem.matrices, *problem.weights)))


def proj(problem: Problem) -> Answer:
    """The bound `anova` plus the distance between the spectra of the projected graphs, in O(n^3)."""
    return Answer(float(gw.proj(*problem.matrices, *problem.weights)))


def tlb(problem: Problem) -> Answer:
    """Third lower bound: optimal transport between the sorted rows of the graphs.

    For n = m and uniform weights this is an assignment problem, otherwise a linear programme.
    """
    if (problem.n != problem.m or not problem.uniform) and problem.n * problem.m > LARGEST_PROGRAMME:
        raise NotApplicableError(f"the linear programme of {problem.n} x {problem.m} nodes takes minutes")
    return Answer(gw.tlb(*problem.matrices, *problem.weights))


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
