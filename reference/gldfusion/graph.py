"""Co-activation graphs of the kept logits, and their node features.

    C = a Z^T Z                       Z [T, n]: the kept logits of one response, one row per position
    f = C p = (a / n) Z^T (Z 1)       p: uniform weights of the n nodes. C is not built to compute f.

The nodes are either *ranks*: column i of Z holds the i-th largest logit of each position, and n = k. Or they are
*vocabulary* ids: all distinct ids that are kept anywhere in one sequence. The aggregation a is one of

    sum     1
    mean    1 / T, where T counts the unmasked positions
    trace   1 / trace(C) = 1 / sum_ti z_ti^2
    max     1 / max_ij |C_ij| = 1 / max_i sum_t z_ti^2, because the largest entry of a PSD matrix is on its diagonal

Source: InfiGFusion (arXiv 2505.13893), equation of C and "graph feature compression".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from gldfusion.errors import InputError, did_you_mean

Aggregate = Literal["sum", "mean", "trace", "max"]
Edges = Literal["graph", "constant", "shuffled"]
SHUFFLE = 13893
"""seed of the order in which `shuffled_edges` deals out the edges"""


def coactivation_graph(z: Tensor, aggregate: Aggregate = "sum", mask: Tensor | None = None) -> Tensor:
    """The graph C on rank nodes. It is symmetric and positive semi-definite.

    The default training loss does not need it: see `node_features`.

    Args:
        z: kept logits [..., T, k], in descending order along k.
        aggregate: the factor a.
        mask: [..., T], False at positions that do not count. Values there have no effect, NaN included.

    Returns:
        C [..., k, k].
    """
    z = _drop(z, mask)
    scale = _scale(aggregate, _positions(z, mask), lambda: z.square().sum(-2))
    return scale[..., None, None] * (z.mT @ z)


def node_features(
    z: Tensor,
    ids: Tensor | None = None,
    aggregate: Aggregate = "sum",
    mask: Tensor | None = None,
    edges: Edges = "graph",
    nodes: Tensor | None = None,
) -> Tensor:
    """The node features f = C p with uniform p, in O(T k). It neither builds C (but for shuffled edges) nor sorts z.

    Args:
        z: kept logits [..., T, k], in descending order along k.
        ids: None for rank nodes. For vocabulary nodes, the vocabulary ids [T, k] of the logits of a single sequence,
            distinct within a position. Node i is then `vocabulary_nodes(ids, mask)[i]`.
        aggregate: the factor a.
        mask: [..., T], False at positions that do not count. Values there have no effect, NaN included.
        edges: "constant" is a control that tests whether the edges contribute anything. It replaces every entry of the
            aggregated C by the mean entry (1^T C 1) / n^2. Every entry of f is then the mean of f. "shuffled" is a
            control too: see `shuffled_edges`. It takes O(T k + n^2).
        nodes: only for vocabulary nodes: a larger set of nodes [n], in ascending order, that contains all `ids`. The
            nodes that are not in `ids` have no edge. None takes the distinct `ids`.

    Returns:
        f [..., k] on rank nodes, or f [n] on vocabulary nodes.

    Raises:
        InputError: `aggregate` or `edges` is unknown, or ids and z do not belong to one sequence.
    """
    check_choice("edges", edges, get_args(Edges))
    if edges == "shuffled":
        return shuffled_edges(_built(z, ids, aggregate, mask, nodes)).mean(-1)
    if ids is None:
        features = _rank_features(z, aggregate, mask)
    else:
        features = _vocabulary_features(z, ids, aggregate, mask, nodes)
    return features if edges == "graph" else features.mean(-1, keepdim=True).expand_as(features)


def shuffled_edges(graph: Tensor) -> Tensor:
    """A control: the graphs [..., n, n] with the same edge weights between other pairs of nodes.

    One order, which depends on n only, deals the weights of the n (n - 1) / 2 edges out to the pairs. The diagonal
    stays as it is. The result is symmetric, but need not be positive semi-definite.
    """
    n = graph.shape[-1]
    rows, columns = torch.triu_indices(n, n, offset=1)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SHUFFLE))
    dealt = graph[..., rows[order], columns[order]]
    shuffled = graph.clone()
    shuffled[..., rows, columns] = dealt
    shuffled[..., columns, rows] = dealt
    return shuffled


def vocabulary_nodes(ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """The distinct ids at unmasked positions, in ascending order: [n] from ids [T, k] and mask [T]."""
    return (ids if mask is None else ids[mask]).unique()


def vocabulary_matrix(z: Tensor, ids: Tensor, nodes: Tensor) -> Tensor:
    """Writes out Z [T, n] on the nodes [n], in ascending order, from z and ids [T, k]. For small graphs only."""
    return z.new_zeros(len(z), len(nodes)).scatter_add(1, torch.searchsorted(nodes, ids.contiguous()), z)


def _built(z: Tensor, ids: Tensor | None, aggregate: Aggregate, mask: Tensor | None, nodes: Tensor | None) -> Tensor:
    """The graph C [..., n, n] on the nodes of `node_features`."""
    if ids is None:
        return coactivation_graph(z, aggregate, mask)
    if mask is not None:
        z, ids = z[mask], ids[mask]
    return coactivation_graph(vocabulary_matrix(z, ids, ids.unique() if nodes is None else nodes), aggregate)


def _rank_features(z: Tensor, aggregate: Aggregate, mask: Tensor | None) -> Tensor:
    z = _drop(z, mask)
    scale = _scale(aggregate, _positions(z, mask), lambda: z.square().sum(-2))
    activity = z.sum(-1, keepdim=True)  # Z 1 [..., T, 1]
    return (scale / z.shape[-1])[..., None] * (z.mT @ activity).squeeze(-1)


def _vocabulary_features(
    z: Tensor, ids: Tensor, aggregate: Aggregate, mask: Tensor | None, nodes: Tensor | None
) -> Tensor:
    if z.ndim != 2 or ids.shape != z.shape:
        raise InputError(
            f"vocabulary nodes belong to one sequence: expected z and ids of one shape [T, k], got {list(z.shape)} and "
            f"{list(ids.shape)}\ncall node_features once per sequence"
        )
    if mask is not None:
        z, ids = z[mask], ids[mask]
    count, column = _columns(ids, nodes)

    def scatter(entries: Tensor) -> Tensor:
        return z.new_zeros(count).index_add(0, column.flatten(), entries.flatten())

    scale = _scale(aggregate, _positions(z, None), lambda: scatter(z.square()))
    return scale / max(count, 1) * scatter(z * z.sum(-1, keepdim=True))


def _columns(ids: Tensor, nodes: Tensor | None) -> tuple[int, Tensor]:
    """The number of nodes, and the index [T, k] of the node of each id."""
    if nodes is None:  # one call takes half the time of `unique` and then `searchsorted`
        distinct, column = ids.unique(return_inverse=True)
        return len(distinct), column
    return len(nodes), torch.searchsorted(nodes, ids.contiguous())


def _drop(z: Tensor, mask: Tensor | None) -> Tensor:
    """Returns z with rows of 0 where mask is False. Such a row adds nothing to C and gets no gradient."""
    return z if mask is None else torch.where(mask[..., None], z, 0)


def _positions(z: Tensor, mask: Tensor | None) -> Tensor:
    """The number T [...] of unmasked positions, in the dtype of z."""
    return z.new_full(z.shape[:-2], z.shape[-2]) if mask is None else mask.sum(-1).to(z.dtype)


def _scale(aggregate: Aggregate, positions: Tensor, diagonal: Callable[[], Tensor]) -> Tensor:
    """The factor a [...].

    Args:
        aggregate: its name.
        positions: T [...].
        diagonal: computes the diagonal [..., n] of Z^T Z. It is called only if it is needed.

    An empty or all-zero graph is 0 with any factor, so its divisor is set to 1.
    """
    check_choice("aggregate", aggregate, get_args(Aggregate))
    if aggregate == "sum":
        return torch.ones_like(positions)
    if aggregate == "mean":
        return 1 / positions.clamp_min(1)
    size = diagonal().sum(-1) if aggregate == "trace" else diagonal().amax(-1)
    return 1 / torch.where(size > 0, size, 1)


def check_choice(option: str, value: object, known: Sequence[str]) -> None:
    """Checks the value of an option.

    Raises:
        InputError: `value` is not one of the `known` values.
    """
    if value not in known:
        raise InputError(f"{option} must be one of {', '.join(known)}, not {value!r}{did_you_mean(str(value), known)}")
