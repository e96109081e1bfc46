"""Gromov-Wasserstein distances: the paper's sorting approximation, and certified bounds of the true value.

    GW_2^2(C, D, p, q) = min over couplings pi of sum (C_ik - D_jl)^2 pi_ij pi_kl     (no factor 1/2, no root)

    ggw_sum    sum_i |f_(i) - g_(i)|, f = C p, g = D q     the paper's loss, for n = m and uniform weights only
    ggw_mean   W_1(f, g)                                   <= GW_1 <= GW_2; for n = m and uniform weights: ggw_sum / n
    flb        W_2^2(f, g)                                 <= GW_2^2
    anova      (c - d)^2 + 2 W_2^2(f - c, g - d)           with c = p^T f, d = q^T g; equals 2 flb - (c - d)^2
    slb, proj, tlb, exact                                  read the graphs themselves: see `graphs`

    lfg        ||C - D||_F^2 / n^2                         >= GW_2^2, of graphs on the same n nodes: see `labelled`

    flb <= anova <= proj <= GW_2^2 <= cost of any coupling;   flb, slb <= tlb <= GW_2^2

The lower bounds hold for symmetric C and D. Sources: InfiGFusion (arXiv 2505.13893) for ggw; Memoli (2011) for FLB, SLB
and TLB; Hadley, Rendl and Wolkowicz (1992) for PROJ. ANOVA follows from the Hoeffding decomposition of C_ik - D_jl
under pi x pi.
"""

from gldfusion.gw.features import anova, flb, ggw_mean, ggw_sum
from gldfusion.gw.graphs import (
    coupling_cost,
    exact,
    is_rank_monotone,
    proj,
    row_costs,
    slb,
    sorted_coupling,
    spectral_gap,
    tlb,
)
from gldfusion.gw.labelled import lfg, squared_gap
from gldfusion.gw.line import Pieces
from gldfusion.gw.transport import transport_cost

__all__ = [
    "Pieces",
    "anova",
    "coupling_cost",
    "exact",
    "flb",
    "ggw_mean",
    "ggw_sum",
    "is_rank_monotone",
    "lfg",
    "proj",
    "row_costs",
    "slb",
    "sorted_coupling",
    "spectral_gap",
    "squared_gap",
    "tlb",
    "transport_cost",
]
