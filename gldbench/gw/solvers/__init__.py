"""The solvers by name.

To add a solver, write a file with a function and a `Solver`, and add one line to SOLVERS. docs/gw.md is the guide.
"""

from __future__ import annotations

from gldbench.gw.solvers import (
    bounds,
    circulant,
    exact_search,
    objective,
    ott_jax,
    pot,
    restarts,
    rlt,
    scipy_qap,
    sorted_couplings,
)
from gldbench.gw.solvers.solver import KINDS, Answer, Solver, missing, require
from gldfusion.errors import require_known

SOLVERS: dict[str, Solver] = {
    "ggw": bounds.GGW,
    "flb": bounds.FLB,
    "anova": bounds.ANOVA,
    "slb": bounds.SLB,
    "proj": bounds.PROJ,
    "tlb": bounds.TLB,
    "circulant": circulant.CIRCULANT,
    "rlt": rlt.RLT,
    "sorted": sorted_couplings.SORTED,
    "sorted_cg": sorted_couplings.SORTED_CG,
    "sorted_two_opt": sorted_couplings.SORTED_TWO_OPT,
    "circulant_two_opt": circulant.CIRCULANT_TWO_OPT,
    "restarts": restarts.RESTARTS,
    "exact": exact_search.EXACT,
    "naive": objective.NAIVE,
    "factored": objective.FACTORED,
    "pot_cg": pot.POT_CG,
    "pot_pgd": pot.POT_PGD,
    "pot_ppa": pot.POT_PPA,
    "bapg": pot.BAPG,
    "quantized": pot.QUANTIZED,
    "sampled": pot.SAMPLED,
    "low_rank": pot.LOW_RANK,
    "pot_batch": pot.POT_BATCH,
    "scipy_faq": scipy_qap.SCIPY_FAQ,
    "scipy_two_opt": scipy_qap.SCIPY_TWO_OPT,
    "ott_jax": ott_jax.OTT_JAX,
}


def solver_names(text: str) -> list[str]:
    """Reads the names of solvers from a text.

    Args:
        text: "all", or names separated by commas.

    Raises:
        InputError: a name is not in SOLVERS.
    """
    names = list(SOLVERS) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        require_known("solver", name, SOLVERS)
    return names


__all__ = ["KINDS", "SOLVERS", "Answer", "Solver", "missing", "require", "solver_names"]
