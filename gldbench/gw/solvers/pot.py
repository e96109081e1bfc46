"""The solvers of POT (Python Optimal Transport, Flamary et al. 2021), and the rounding that their plans need."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from gldbench.gw.couplings import FEASIBLE, marginal_error, rounded
from gldbench.gw.problem import Array, NotApplicableError, Problem
from gldbench.gw.solvers.solver import OBJECTIVE, Answer, Solver

EPSILON = 0.02
"""weight of the entropy or of the proximal term, for graphs of unit mass"""
ITERATIONS = 100
TOLERANCE = 1e-6
BAPG_STEP = 0.1
"""with a smaller step POT's multiplicative update overflows on many graphs of unit mass"""
SAMPLES, SAMPLED_STEPS = 32, 10
RANK = 8


def plan_of(problem: Problem, solve: Callable[[Array, Array, Array, Array], Any]) -> Answer:
    """Calls solve(C, D, p, q) without its warnings, and rounds the plan if its marginals are not exact.

    Raises:
        NotApplicableError: the plan holds NaN or infinity.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # A warning such as "did not converge" tells nothing new: the harness computes the true cost of the plan.
        warnings.simplefilter("ignore")
        plan = np.asarray(solve(*problem.arrays), dtype=np.float64)
    if not np.isfinite(plan).all():
        raise NotApplicableError("the solver overflowed: its plan holds NaN or infinity")
    return Answer(coupling=plan if marginal_error(problem, plan) <= FEASIBLE else rounded(problem, plan))


def pot_cg(problem: Problem) -> Answer:
    """Conditional gradient that starts from the product plan: POT's default solver."""
    from ot.gromov import gromov_wasserstein

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        return gromov_wasserstein(c, d, p, q, "square_loss", symmetric=True)

    return plan_of(problem, solve)


def pot_pgd(problem: Problem) -> Answer:
    """Entropic Gromov-Wasserstein by projected gradient. The cost of its plan is computed without the entropy."""
    return _entropic(problem, "PGD")


def pot_ppa(problem: Problem) -> Answer:
    """Proximal point steps, each an entropic transport problem. Slower than `pot_pgd`, without its entropic bias."""
    return _entropic(problem, "PPA")


def _entropic(problem: Problem, method: Literal["PGD", "PPA"]) -> Answer:
    from ot.gromov import entropic_gromov_wasserstein

    options = {"epsilon": EPSILON, "solver": method, "max_iter": ITERATIONS, "tol": TOLERANCE, "numItermax": ITERATIONS}

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        return entropic_gromov_wasserstein(c, d, p, q, "square_loss", symmetric=True, **options)

    return plan_of(problem, solve)


def bapg(problem: Problem) -> Answer:
    """Bregman alternating projected gradient: alternates between the row and the column marginal.

    A marginal of its plan can be wrong by up to 0.2; rounding makes the plan feasible.
    """
    from ot.gromov import BAPG_gromov_wasserstein

    options = {"epsilon": BAPG_STEP, "max_iter": 10 * ITERATIONS, "tol": TOLERANCE}

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        return BAPG_gromov_wasserstein(c, d, p, q, "square_loss", symmetric=True, **options)

    return plan_of(problem, solve)


def quantized(problem: Problem) -> Answer:
    """Quantized Gromov-Wasserstein: matches representatives of sqrt(n) parts, then the nodes inside matched parts.

    The parts are random with a fixed seed. POT's other partitions need connected graphs.
    """
    from ot.gromov import quantized_fused_gromov_wasserstein

    parts = [max(1, round(size**0.5)) for size in (problem.n, problem.m)]
    if min(parts) < 2:
        raise NotApplicableError("too few nodes to be parted")

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        first, second = parts
        options: dict[str, Any] = {"part_method": "random", "rep_method": "random", "random_state": 0}
        return quantized_fused_gromov_wasserstein(c, d, first, second, p, q, alpha=1.0, **options)[2]

    return plan_of(problem, solve)


def sampled(problem: Problem) -> Answer:
    """Conditional gradient with a gradient estimated from samples, drawn with a fixed seed."""
    from ot.gromov import sampled_gromov_wasserstein

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        options = {"nb_samples_grad": min(SAMPLES, problem.n), "epsilon": EPSILON, "max_iter": SAMPLED_STEPS}
        return sampled_gromov_wasserstein(c, d, p, q, lambda x, y: (x - y) ** 2, random_state=0, **options)

    return plan_of(problem, solve)


def low_rank(problem: Problem) -> Answer:
    """Low-rank Gromov-Wasserstein: factors of both graphs, and a plan of rank 8 before rounding.

    The graphs are factored by their eigenvectors, C = A A'^T, which is exact for every symmetric matrix.
    """
    from ot.gromov import lowrank_gromov_wasserstein_samples

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        first, second = _factors(c), _factors(d)
        found: Any = lowrank_gromov_wasserstein_samples(
            first[0],
            second[0],
            p,
            q,
            rank=min(RANK, problem.n, problem.m),
            cost_factorized_Xs=first,
            cost_factorized_Xt=second,
            numItermax=ITERATIONS,
            numItermax_dykstra=ITERATIONS,
            warn=False,
            warn_dykstra=False,
        )
        left, right, middle = found
        return left @ np.diag(1 / middle) @ right.T

    return plan_of(problem, solve)


def _factors(graph: Array) -> tuple[Array, Array]:
    """A and A' [n, r] with A A'^T = graph [n, n]."""
    values, vectors = np.linalg.eigh(graph)
    kept = np.abs(values) > 1e-12 * np.abs(values).max()
    return vectors[:, kept] * values[kept], vectors[:, kept]


def pot_batch(problem: Problem) -> Answer:
    """POT's batched proximal gradient on the device of the problem's tensors, with one problem in the batch."""
    from ot.batch import solve_gromov_batch

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        first, second = (graph[None] for graph in problem.matrices)
        a, b = (torch.from_numpy(weights)[None].to(first) for weights in (p, q))
        found: Any = solve_gromov_batch(first, second, EPSILON, a, b, symmetric=True)
        return found.plan[0].cpu().numpy()

    return plan_of(problem, solve)


POT_CG = Solver(
    run=pot_cg,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} by conditional gradient from p q^T",
    source="Vayer et al. (2019), ICML, with POT",
    max_nodes=1024,
    growth=3.0,
    package="ot",
)
POT_PGD = Solver(
    run=pot_pgd,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} - epsilon H(pi), with epsilon = {EPSILON} and the entropy H",
    source="Peyre, Cuturi and Solomon (2016), ICML, with POT",
    max_nodes=512,
    growth=3.0,
    package="ot",
)
POT_PPA = Solver(
    run=pot_ppa,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE}; each step adds epsilon KL(pi | previous pi), with epsilon = {EPSILON}",
    source="Xu, Luo and Carin (2019), ICML, with POT",
    max_nodes=512,
    growth=3.0,
    package="ot",
)
BAPG = Solver(
    run=bapg,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} by multiplicative steps of size {BAPG_STEP}, one marginal at a time",
    source="Li et al. (2023), ICLR, with POT",
    max_nodes=512,
    growth=3.0,
    package="ot",
)
QUANTIZED = Solver(
    run=quantized,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} between representatives, extended to all nodes",
    source="Chowdhury, Miller and Needham (2021), ECML PKDD, with POT",
    max_nodes=2048,
    growth=2.0,
    package="ot",
)
SAMPLED = Solver(
    run=sampled,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} by {SAMPLED_STEPS} steps, each with {SAMPLES} samples of the gradient",
    source="Kerdoncuff, Emonet and Sebban (2021), Machine Learning 110, with POT",
    max_nodes=512,
    growth=2.5,
    package="ot",
)
LOW_RANK = Solver(
    run=low_rank,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} over plans pi = Q diag(1 / g) R^T of rank {RANK}",
    source="Scetbon, Peyre and Cuturi (2022), ICML, with POT",
    max_nodes=512,
    growth=2.5,
    package="ot",
)
POT_BATCH = Solver(
    run=pot_batch,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE}; each step adds epsilon KL(pi | previous pi), with epsilon = {EPSILON}",
    source="POT, ot.batch",
    max_nodes=512,
    growth=3.0,
    package="ot",
    gpu=True,
)
