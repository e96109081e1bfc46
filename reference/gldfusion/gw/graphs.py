"""Distances that read the graphs C and D themselves, not only their node features.

    SLB    W_2^2 between all entries of C (weights p p^T) and all entries of D (q q^T)              O(n^2 log n)
    PROJ   anova + |spectrum(C') - spectrum(D')|^2, positive and negative eigenvalues apart,
           C' = diag(sqrt p) C diag(sqrt p) projected off sqrt p                                    O(n^3)
    TLB    optimal transport between nodes, cost W_2^2(row i of C, row j of D)                      O(n^3)
    exact  where both graphs are rank-monotone: the comonotone coupling is optimal                  O(n^2)

Proof of `exact`. Rows of C and D non-increasing in a common order. For fixed i, j the sum over k, l of C_ik D_jl pi_kl
is greatest for the comonotone coupling, with value A_ij = int C_i(u) D_j(u) du; C_i >= C_i' for i < i' and likewise in
D, so A is supermodular and sum A_ij pi_ij is greatest for the comonotone coupling again. Signs play no part, and
|C_ik - D_jl| instead of its square leads to the same coupling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.gw.features import anova, flb
from gldfusion.gw.line import Pieces, uniform_pieces, weighted_pieces, weights_of
from gldfusion.gw.transport import transport_cost

ROUNDING = 512
"""units in the last place of the largest entry by which a monotone row may rise"""


def slb(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """W_2^2 of the entries, a lower bound of GW_2^2: [...] from c [..., n, n] and d [..., m, m], weights as `flb`."""
    if p is None and q is None:
        return flb(c.flatten(-2), d.flatten(-2))
    p, q = weights_of(p, c[0], "p"), weights_of(q, d[0], "q")
    return flb(c.flatten(), d.flatten(), torch.outer(p, p).flatten(), torch.outer(q, q).flatten())


def proj(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """The projected eigenvalue bound of GW_2^2, never below `anova`: a scalar from c [n, n] and d [m, m].

    Proof: of the Hoeffding parts of C_ik - D_jl, `anova` keeps mean and main effects; the rest is |C'|^2 + |D'|^2 -
    2 tr(C' P D' P^T) with P of spectral norm at most 1, and von Neumann's inequality holds for such P part by part.
    """
    p, q = weights_of(p, c[0], "p"), weights_of(q, d[0], "q")
    size = max(len(p), len(q))
    spectra = [_off_constant_spectrum(graph, weights, size) for graph, weights in ((c, p), (d, q))]
    signs = [(s[0] - s[1]).square().sum() for s in zip(*spectra, strict=True)]
    return anova(c @ p, d @ q, p, q) + signs[0] + signs[1]


def _off_constant_spectrum(graph: Tensor, weights: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Positive and negative eigenvalues of C', each sorted and padded with zeros to [size]."""
    root = weights.sqrt()
    constant = torch.outer(root, root)
    identity = torch.eye(len(root), dtype=root.dtype, device=root.device)
    values = torch.linalg.eigvalsh((identity - constant) @ (constant * graph) @ (identity - constant))
    values = torch.cat([values, values.new_zeros(size - len(values))])
    return values.clamp_min(0).sort().values, values.clamp_max(0).sort().values


def tlb(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> float:
    """The third lower bound of GW_2^2, at least `slb` and `flb`; c [n, n], d [m, m]. Carries no gradient."""
    c, d = c.detach().cpu(), d.detach().cpu()
    if p is None and q is None:
        i, j, mass = uniform_pieces(len(c), len(d), c)
        cost = _row_costs(c.sort(-1).values[:, i], d.sort(-1).values[:, j], mass)
        return transport_cost(cost.double().numpy())
    p, q = weights_of(p, c[0], "p").cpu(), weights_of(q, d[0], "q").cpu()
    d_sorted, d_order = d.sort(-1)
    q_rows = q[d_order]
    rows = []
    for c_sorted, order in zip(*c.sort(-1), strict=True):
        i, j, mass = weighted_pieces(p[order].expand(len(d), -1), q_rows)
        rows.append((mass * (c_sorted[i] - d_sorted.gather(-1, j)).square()).sum(-1))
    return transport_cost(torch.stack(rows).double().numpy(), p.double().numpy(), q.double().numpy())


def _row_costs(c: Tensor, d: Tensor, mass: Tensor) -> Tensor:
    """sum_r mass_r (c_ir - d_jr)^2 [n, m] from c [n, r] and d [m, r]: one product of matrices."""
    middle = (c.mean() + d.mean()) / 2  # differences do not change, rounding shrinks
    c, d = c - middle, d - middle
    squares = (mass * c.square()).sum(-1)[:, None] + (mass * d.square()).sum(-1)
    return (squares - 2 * (mass * c) @ d.mT).clamp_min(0)


def sorted_order(c: Tensor, p: Tensor | None = None) -> Tensor:
    """Nodes by descending feature C p: [..., n] from c [..., n, n] and p [n]."""
    features = c.mean(-1) if p is None else c @ weights_of(p, c[0], "p")
    return features.argsort(-1, descending=True)


def sorted_coupling(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Pieces:
    """The paper's coupling: nodes matched monotonely by their features, as pieces of (node of c, node of d, mass)."""
    c_order, d_order = sorted_order(c, p), sorted_order(d, q)
    if p is None and q is None:
        i, j, mass = uniform_pieces(len(c), len(d), c)
    else:
        i, j, mass = weighted_pieces(weights_of(p, c[0], "p")[c_order], weights_of(q, d[0], "q")[d_order])
    return Pieces(c_order[i], d_order[j], mass)


def coupling_cost(c: Tensor, d: Tensor, pieces: Pieces, power: int = 2) -> Tensor:
    """sum_rs mass_r mass_s |C[i_r, i_s] - D[j_r, j_s]|^power, an upper bound of GW: O(pieces^2)."""
    i, j, mass = pieces
    gap = c[..., i[:, None], i] - d[..., j[:, None], j]
    return torch.einsum("...rs,r,s->...", gap.abs() if power == 1 else gap.abs() ** power, mass, mass)


def is_rank_monotone(c: Tensor, p: Tensor | None = None) -> Tensor:
    """Whether one order of the nodes makes every row non-increasing, to rounding: bool [...] from c [..., n, n].

    The features order the nodes if anything does, for then rows are ordered entry by entry, and so are their means.
    Rank nodes of logits of one sign (`logprob`, `softmax`) are rank-monotone.
    """
    return _monotone(_reordered(c, sorted_order(c, p)))


def exact(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """GW_2^2 of rank-monotone graphs: [...] from c [..., n, n] and d [..., m, m], weights as `flb`; differentiable.

    Raises:
        InputError: a graph is not rank-monotone; no closed form is known then.
    """
    graphs = [_reordered(graph, sorted_order(graph, weights)) for graph, weights in ((c, p), (d, q))]
    for name, graph in zip("CD", graphs, strict=True):
        if not bool(_monotone(graph).all()):
            raise InputError(
                f"the exact distance is known in closed form for rank-monotone graphs only; {name} is not\n"
                "rank nodes of logits of one sign are: values logprob or softmax; or use slb, a certified lower bound"
            )
    if p is None and q is None:
        pieces = uniform_pieces(c.shape[-1], d.shape[-1], c)
    else:
        p, q = weights_of(p, c[0], "p"), weights_of(q, d[0], "q")
        pieces = weighted_pieces(p[sorted_order(c, p)], q[sorted_order(d, q)])
    return coupling_cost(graphs[0], graphs[1], pieces)


def _reordered(c: Tensor, order: Tensor) -> Tensor:
    """Rows and columns of c [..., n, n] in the given order [..., n]."""
    c = c.gather(-2, order[..., :, None].expand_as(c))
    return c.gather(-1, order[..., None, :].expand_as(c))


def _monotone(c: Tensor) -> Tensor:
    slack = ROUNDING * torch.finfo(c.dtype).eps * c.abs().amax((-2, -1))
    return (c.diff(dim=-1) <= slack[..., None, None]).flatten(-2).all(-1)
