"""Distances that read the graphs C and D themselves, not only their node features.

    SLB    W_2^2 between all entries of C (weights p p^T) and all entries of D (weights q q^T)      O(n^2 log n)
    PROJ   anova + |spectrum(C') - spectrum(D')|^2, with positive and negative eigenvalues compared
           separately; C' is diag(sqrt p) C diag(sqrt p), projected onto the complement of sqrt p   O(n^3)
    TLB    optimal transport between the nodes, with cost W_2^2(row i of C, row j of D)             O(n^3)
    exact  for two rank-monotone graphs, whose optimal coupling is the comonotone one               O(n^2)

Proof of `exact`. Let the nodes of each graph be ordered so that its rows are non-increasing. For fixed i and j, the sum
over k, l of C_ik D_jl pi_kl is greatest for the comonotone coupling, and its value is A_ij = int C_i(u) D_j(u) du. For
i < i' we have C_i >= C_i', and the same holds for D. So A is supermodular, and sum A_ij pi_ij is again greatest for the
comonotone coupling. The signs of the entries do not matter. With |C_ik - D_jl| in place of its square the same coupling
is optimal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.gw.features import anova, flb
from gldfusion.gw.line import Pieces, uniform_pieces, weighted_pieces, weights_of
from gldfusion.gw.transport import transport_cost

ROUNDING = 512
"""tolerance for rounding: a monotone row may rise by this many units in the last place of the largest entry"""


def slb(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """W_2^2 between the entries of the graphs, the second lower bound (SLB) of GW_2^2. It is differentiable.

    Args:
        c: [..., n, n], or [n, n] if weights are given.
        d: [..., m, m], or [m, m] if weights are given.
        p: weights [n] of the nodes of c. None: uniform.
        q: weights [m] of the nodes of d. None: uniform.

    Returns:
        [...].
    """
    if p is None and q is None:
        return flb(c.flatten(-2), d.flatten(-2))
    p, q = weights_of(p, c[0], "p"), weights_of(q, d[0], "q")
    return flb(c.flatten(), d.flatten(), torch.outer(p, p).flatten(), torch.outer(q, q).flatten())


def proj(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """The projected eigenvalue bound (PROJ) of GW_2^2, which is never smaller than `anova`.

    Proof. The Hoeffding decomposition of C_ik - D_jl has a mean, main effects and a rest. `anova` is the part of the
    mean and the main effects. The rest is |C'|^2 + |D'|^2 - 2 tr(C' P D' P^T), where P has a spectral norm of at most
    1. Von Neumann's inequality for such P bounds it, for positive and negative eigenvalues separately.

    Args:
        c: [n, n].
        d: [m, m].
        p: weights [n] of the nodes of c. None: uniform.
        q: weights [m] of the nodes of d. None: uniform.

    Returns:
        A scalar.
    """
    p, q = weights_of(p, c[0], "p"), weights_of(q, d[0], "q")
    spectra = [_off_constant_spectrum(graph, weights) for graph, weights in ((c, p), (d, q))]
    return anova(c @ p, d @ q, p, q) + spectral_gap(*spectra)


def spectral_gap(first: Tensor, second: Tensor) -> Tensor:
    """The squared distance of two spectra [n] and [m]. Positive and negative eigenvalues are compared separately.

    The eigenvalues of each sign are sorted and padded with 0.
    """
    size = max(len(first), len(second))
    padded = [torch.cat([values, values.new_zeros(size - len(values))]) for values in (first, second)]
    positive = [values.clamp_min(0).sort().values for values in padded]
    negative = [values.clamp_max(0).sort().values for values in padded]
    return (positive[0] - positive[1]).square().sum() + (negative[0] - negative[1]).square().sum()


def _off_constant_spectrum(graph: Tensor, weights: Tensor) -> Tensor:
    """The eigenvalues of C' [n]."""
    root = weights.sqrt()
    constant = torch.outer(root, root)
    identity = torch.eye(len(root), dtype=root.dtype, device=root.device)
    return torch.linalg.eigvalsh((identity - constant) @ (constant * graph) @ (identity - constant))


def tlb(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> float:
    """The third lower bound (TLB) of GW_2^2, never smaller than `slb` and `flb`. It has no gradient.

    Arguments as for `proj`.
    """
    cost = row_costs(c, d, p, q).double().numpy()
    if p is None and q is None:
        return transport_cost(cost)
    p, q = weights_of(p, c[0], "p").cpu(), weights_of(q, d[0], "q").cpu()
    return transport_cost(cost, p.double().numpy(), q.double().numpy())


def row_costs(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """W_2^2 between each row of c and each row of d: [n, m], on the CPU. Arguments as for `proj`."""
    c, d = c.detach().cpu(), d.detach().cpu()
    if p is None and q is None:
        i, j, mass = uniform_pieces(len(c), len(d), c)
        return _row_costs(c.sort(-1).values[:, i], d.sort(-1).values[:, j], mass)
    p, q = weights_of(p, c[0], "p").cpu(), weights_of(q, d[0], "q").cpu()
    d_sorted, d_order = d.sort(-1)
    q_rows = q[d_order]
    rows = []
    for c_sorted, order in zip(*c.sort(-1), strict=True):
        i, j, mass = weighted_pieces(p[order].expand(len(d), -1), q_rows)
        rows.append((mass * (c_sorted[i] - d_sorted.gather(-1, j)).square()).sum(-1))
    return torch.stack(rows)


def _row_costs(c: Tensor, d: Tensor, mass: Tensor) -> Tensor:
    """sum_r mass_r (c_ir - d_jr)^2 [n, m] from c [n, r] and d [m, r], with one matrix product."""
    middle = (c.mean() + d.mean()) / 2  # the differences stay the same, and rounding errors become smaller
    c, d = c - middle, d - middle
    squares = (mass * c.square()).sum(-1)[:, None] + (mass * d.square()).sum(-1)
    return (squares - 2 * (mass * c) @ d.mT).clamp_min(0)


def sorted_order(c: Tensor, p: Tensor | None = None) -> Tensor:
    """The nodes in descending order of their features C p: [..., n] from c [..., n, n] and p [n]."""
    features = c.mean(-1) if p is None else c @ weights_of(p, c[0], "p")
    return features.argsort(-1, descending=True)


def sorted_coupling(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Pieces:
    """The paper's coupling: it matches the nodes in the order of their features.

    Args:
        c: [n, n].
        d: [m, m].
        p: weights [n] of the nodes of c. None: uniform.
        q: weights [m] of the nodes of d. None: uniform.

    Returns:
        Pieces of (node of c, node of d, mass).
    """
    c_order, d_order = sorted_order(c, p), sorted_order(d, q)
    if p is None and q is None:
        i, j, mass = uniform_pieces(len(c), len(d), c)
    else:
        i, j, mass = weighted_pieces(weights_of(p, c[0], "p")[c_order], weights_of(q, d[0], "q")[d_order])
    return Pieces(c_order[i], d_order[j], mass)


def coupling_cost(c: Tensor, d: Tensor, pieces: Pieces, power: int = 2) -> Tensor:
    """The cost of a coupling, an upper bound of GW_power^power: sum_rs mass_r mass_s |C[i_r, i_s] - D[j_r, j_s]|^power.

    Args:
        c: [..., n, n].
        d: [..., m, m].
        pieces: the coupling, with P pieces; the time is O(P^2).
        power: 1 or 2.

    Returns:
        [...].
    """
    i, j, mass = pieces
    gap = c[..., i[:, None], i] - d[..., j[:, None], j]
    return torch.einsum("...rs,r,s->...", gap.abs() if power == 1 else gap.abs() ** power, mass, mass)


def is_rank_monotone(c: Tensor, p: Tensor | None = None) -> Tensor:
    """Whether an order of the nodes exists in which every row of c is non-increasing, up to rounding.

    If such an order exists, then the rows are ordered entry by entry, and so are their means, the features. It is
    therefore enough to try the order of the features. Graphs on rank nodes are rank-monotone if all logits have one
    sign, as the values `logprob` and `softmax` have.

    Args:
        c: [..., n, n], symmetric.
        p: weights [n] of the nodes. None: uniform.

    Returns:
        [...] bool.
    """
    return _monotone(_reordered(c, sorted_order(c, p)))


def exact(c: Tensor, d: Tensor, p: Tensor | None = None, q: Tensor | None = None) -> Tensor:
    """GW_2^2 of two rank-monotone graphs. It is differentiable.

    Arguments and result as for `slb`.

    Raises:
        InputError: a graph is not rank-monotone. No closed form is known for it.
    """
    graphs = [_reordered(graph, sorted_order(graph, weights)) for graph, weights in ((c, p), (d, q))]
    for name, graph in zip("CD", graphs, strict=True):
        if not bool(_monotone(graph).all()):
            raise InputError(
                f"the exact distance is known for rank-monotone graphs only; {name} is not rank-monotone\n"
                "use values logprob or softmax on rank nodes (always rank-monotone), or slb, a certified lower bound"
            )
    if p is None and q is None:
        pieces = uniform_pieces(c.shape[-1], d.shape[-1], c)
    else:
        p, q = weights_of(p, c[0], "p"), weights_of(q, d[0], "q")
        pieces = weighted_pieces(p[sorted_order(c, p)], q[sorted_order(d, q)])
    return coupling_cost(graphs[0], graphs[1], pieces)


def _reordered(c: Tensor, order: Tensor) -> Tensor:
    """Puts the rows and columns of c [..., n, n] into the given order [..., n]."""
    c = c.gather(-2, order[..., :, None].expand_as(c))
    return c.gather(-1, order[..., None, :].expand_as(c))


def _monotone(c: Tensor) -> Tensor:
    slack = ROUNDING * torch.finfo(c.dtype).eps * c.abs().amax((-2, -1))
    return (c.diff(dim=-1) <= slack[..., None, None]).flatten(-2).all(-1)
