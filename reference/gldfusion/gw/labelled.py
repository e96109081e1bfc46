"""Distances between graphs whose nodes have names: node i of one graph is compared with node i of the other.

    C = a Z^T Z,  D = b Y^T Y                  Z [T, n], Y [S, n] on one set of n nodes, k non-zero values in each row
    ||C - D||_F^2 = a^2 ||Z Z^T||_F^2 + b^2 ||Y Y^T||_F^2 - 2 a b ||Z Y^T||_F^2
    LFG = ||C - D||_F^2 / n^2                  labelled Frobenius gap, with the weights 1/n

The coupling that sends every node to itself is feasible, and LFG is its cost. So GW_2^2 <= LFG, while `flb`, `anova`,
`slb` and the square of `ggw_mean` are lower bounds of GW_2^2. This holds if all of them are computed on these n nodes
with the weights 1/n. LFG sees the names of the nodes, which a Gromov-Wasserstein distance does not.

No n x n matrix is built. For each row of Z, the products with all rows of Y take O(S k): the k columns of Y that the
row needs are added up. In all this takes O((T + S)^2 k).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.graph import check_choice

TABLE = 1 << 22
"""at most so many numbers of a table are in memory at once, except for a single large problem"""


def lfg(z: Tensor, z_ids: Tensor, y: Tensor, y_ids: Tensor, aggregate: Literal["sum", "mean"] = "sum") -> Tensor:
    """The labelled Frobenius gap of two graphs, an upper bound of GW_2^2. It is differentiable.

    The n nodes are the distinct ids in either graph. Values of one row that have the same id are added.

    Args:
        z: [T, k] the values of one model.
        z_ids: [T, k] their nodes.
        y: [S, m] the values of the other model.
        y_ids: [S, m] their nodes.
        aggregate: "sum": the factors a and b are 1. "mean": they are 1/T and 1/S.

    Returns:
        A scalar.

    Raises:
        InputError: values and ids have different shapes, a side has no value, or `aggregate` is unknown.
    """
    check_choice("aggregate", aggregate, ("sum", "mean"))
    for values, ids in ((z, z_ids), (y, y_ids)):
        if values.ndim != 2 or values.shape != ids.shape or not values.numel():
            raise InputError(
                f"expected values and ids of one shape [T, k] with T, k >= 1, got {list(values.shape)} and "
                f"{list(ids.shape)}\ncall lfg once per sequence"
            )
    nodes = torch.cat([z_ids.flatten(), y_ids.flatten()]).unique()
    factors = [1 / len(values) if aggregate == "mean" else 1.0 for values in (z, y)]
    gap = squared_gap(z[None], z_ids[None], y[None], y_ids[None], *(z.new_full((1,), f) for f in factors))
    return gap.squeeze(0) / len(nodes) ** 2


def squared_gap(z: Tensor, z_ids: Tensor, y: Tensor, y_ids: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """||a Z^T Z - b Y^T Y||_F^2 for each of N problems. It has a gradient to z and y, but not a second one.

    Args:
        z: [N, T, k] the values of the rows of Z. A row of 0 has no effect.
        z_ids: [N, T, k] the nodes of these values. Values of one row that have the same node are added.
        y: [N, S, m].
        y_ids: [N, S, m].
        a: [N] factor of the first graph.
        b: [N] factor of the second graph.

    Returns:
        [N].
    """
    columns, _ = local_columns(torch.cat([z_ids.flatten(1), y_ids.flatten(1)], 1))
    width = z_ids[0].numel()
    at = columns[:, :width].view_as(z_ids), columns[:, width:].view_as(y_ids)
    return _SquaredGap.apply(z, at[0], y, at[1], a, b)  # pyright: ignore[reportReturnType]


def local_columns(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers the distinct ids of each row from 0 on, in ascending order, without a wait for a GPU.

    Args:
        ids: [N, m].

    Returns:
        [N, m] the number of each id, and [N] how many distinct ids the row has.
    """
    ordered, order = ids.sort(-1)
    new = torch.zeros_like(ids)
    new[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).long()
    number = new.cumsum(-1)
    return torch.empty_like(ids).scatter_(-1, order, number), number[:, -1] + 1


class _SquaredGap(torch.autograd.Function):
    """`squared_gap` on local columns. The gradients are computed with the value, so nothing large is kept."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, z_at: Tensor, y: Tensor, y_at: Tensor, a: Tensor, b: Tensor) -> Tensor:
        problems, columns = len(z), z_at[0].numel() + y_at[0].numel()
        size = max(1, TABLE // max(1, columns * (z.shape[1] + y.shape[1])))
        wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[2]
        parts = [slice(first, first + size) for first in range(0, problems, size)]
        found = [_part(z[p], z_at[p], y[p], y_at[p], a[p], b[p], columns, wanted) for p in parts]
        value, *gradients = (torch.cat(list(each)) for each in zip(*found, strict=True))
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        of_z, of_y = (g * given[:, None, None] if g.ndim == 3 else None for g in ctx.saved_tensors)
        return of_z, None, of_y, None, None, None


def _part(
    z: Tensor,
    z_at: Tensor,
    y: Tensor,
    y_at: Tensor,
    a: Tensor,
    b: Tensor,
    columns: int,
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """The value of some problems, and the gradients to z and y; a gradient that is not wanted is [N] of 0."""
    a, b = a[:, None, None], b[:, None, None]
    z_table, y_table = _table(z, z_at, columns), _table(y, y_at, columns)
    z_on_z, z_on_y, y_on_y = _rows(z_table, z_at), _rows(y_table, z_at), _rows(y_table, y_at)
    zz, zy, yy = _products(z, z_on_z), _products(z, z_on_y), _products(y, y_on_y)  # [N, T, T], [N, T, S], [N, S, S]
    value = (a * zz).square().sum((1, 2)) + (b * yy).square().sum((1, 2)) - 2 * (a * b * zy.square()).sum((1, 2))
    none = value.new_zeros(len(value))
    of_z = 4 * a * (a * _combined(zz, z_on_z) - b * _combined(zy, z_on_y)) if wanted[0] else none
    of_y = none
    if wanted[1]:
        of_y = 4 * b * (b * _combined(yy, y_on_y) - a * _combined(zy.mT, _rows(z_table, y_at)))
    return value, of_z, of_y


def _table(z: Tensor, at: Tensor, columns: int) -> Tensor:
    """Z^T, written out: [N, columns, T]."""
    n, t, _ = z.shape
    place = at * t + torch.arange(t, device=z.device)[:, None]
    return z.new_zeros(n, columns * t).scatter_add_(1, place.flatten(1), z.flatten(1)).view(n, columns, t)


def _rows(table: Tensor, at: Tensor) -> Tensor:
    """The rows [N, T, k, S] of a table [N, columns, S] that the columns `at` [N, T, k] name."""
    n, columns, _ = table.shape
    first = columns * torch.arange(n, device=at.device)[:, None, None]
    return table.flatten(0, 1).index_select(0, (at + first).flatten()).view(*at.shape, -1)


def _products(z: Tensor, rows: Tensor) -> Tensor:
    """The product of each row of Z with each row of Y: [N, T, S]."""
    return (z[:, :, None] @ rows).squeeze(2)


def _combined(products: Tensor, rows: Tensor) -> Tensor:
    """sum_s products_ts Y_s at the columns of row t: [N, T, k]."""
    return (rows @ products[..., None]).squeeze(-1)
