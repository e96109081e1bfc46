"""Solvers by name. Adding one: a file with a `SOLVER`, and a line here; the contract tests pick it up."""

from __future__ import annotations

from gldbench.gw.solvers import (
    anova,
    bapg,
    exact,
    factored,
    flb,
    ggw,
    low_rank,
    naive,
    ott_jax,
    pot_batch,
    pot_cg,
    pot_pgd,
    pot_ppa,
    proj,
    quantized,
    sampled,
    scipy_faq,
    scipy_two_opt,
    slb,
    sorted_cg,
    sorted_coupling,
    sorted_two_opt,
    tlb,
)
from gldbench.gw.solvers.solver import Answer, Solver, missing, require
from gldfusion.errors import InputError, did_you_mean

SOLVERS: dict[str, Solver] = {
    "ggw": ggw.SOLVER,  # the paper: sorted features
    "flb": flb.SOLVER,  # W_2^2 of the features
    "anova": anova.SOLVER,  # mean and main effects
    "slb": slb.SOLVER,  # W_2^2 of the entries
    "proj": proj.SOLVER,  # anova and projected spectra
    "tlb": tlb.SOLVER,  # transport between sorted rows
    "sorted": sorted_coupling.SOLVER,  # the coupling that sorting implies
    "sorted_cg": sorted_cg.SOLVER,  # conditional gradient from there
    "sorted_two_opt": sorted_two_opt.SOLVER,  # swaps from there
    "exact": exact.SOLVER,  # closed form, branch and bound
    "naive": naive.SOLVER,  # the objective in O(n^4)
    "factored": factored.SOLVER,  # the objective in O(n^3)
    "pot_cg": pot_cg.SOLVER,  # conditional gradient from the product plan
    "pot_pgd": pot_pgd.SOLVER,  # entropic, projected gradient
    "pot_ppa": pot_ppa.SOLVER,  # entropic, proximal point
    "bapg": bapg.SOLVER,  # alternating Bregman projections
    "quantized": quantized.SOLVER,  # representatives and their parts
    "sampled": sampled.SOLVER,  # sampled gradient
    "low_rank": low_rank.SOLVER,  # factored graphs and plan
    "pot_batch": pot_batch.SOLVER,  # batched, on tensors
    "scipy_faq": scipy_faq.SOLVER,  # fast approximate assignment
    "scipy_two_opt": scipy_two_opt.SOLVER,  # 2-opt from a random start
    "ott_jax": ott_jax.SOLVER,  # entropic, compiled
}


def solver_names(text: str) -> list[str]:
    """Names from "all" or a comma-separated list.

    Raises:
        InputError: an unknown name.
    """
    names = list(SOLVERS) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in SOLVERS:
            raise InputError(f'no solver named "{name}"{did_you_mean(name, SOLVERS)}\nknown: {", ".join(SOLVERS)}')
    return names


__all__ = ["SOLVERS", "Answer", "Solver", "missing", "require", "solver_names"]
