"""The solver of OTT-JAX, an optional package."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from gldbench.gw.problem import Array, Problem
from gldbench.gw.solvers.pot import EPSILON, plan_of
from gldbench.gw.solvers.solver import OBJECTIVE, Answer, Solver


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    """The solver under jit. JAX compiles it at the first call for each size: in a timing that call is the warm-up."""
    import jax  # pyright: ignore[reportMissingImports]
    from ott.geometry import geometry  # pyright: ignore[reportMissingImports]
    from ott.problems.quadratic import quadratic_problem  # pyright: ignore[reportMissingImports]
    from ott.solvers.linear import sinkhorn  # pyright: ignore[reportMissingImports]
    from ott.solvers.quadratic import gromov_wasserstein  # pyright: ignore[reportMissingImports]

    def solve(c: Any, d: Any, p: Any, q: Any) -> Any:
        first, second = geometry.Geometry(cost_matrix=c), geometry.Geometry(cost_matrix=d)
        stated = quadratic_problem.QuadraticProblem(first, second, a=p, b=q)
        return gromov_wasserstein.GromovWasserstein(sinkhorn.Sinkhorn(), epsilon=EPSILON)(stated).matrix

    return jax.jit(solve)


def ott_jax(problem: Problem) -> Answer:
    """Entropic Gromov-Wasserstein of OTT-JAX, compiled. JAX computes in float32 by default, so the plan is rounded."""

    def solve(c: Array, d: Array, p: Array, q: Array) -> object:
        return np.asarray(_compiled()(c, d, p, q), dtype=float)

    return plan_of(problem, solve)


OTT_JAX = Solver(
    run=ott_jax,
    kind="upper",
    formula=f"local minimum of {OBJECTIVE} - epsilon H(pi), with epsilon = {EPSILON} and the entropy H",
    source="Cuturi et al. (2022), arXiv 2201.12324",
    max_nodes=1024,
    growth=3.0,
    package="ott",
)
