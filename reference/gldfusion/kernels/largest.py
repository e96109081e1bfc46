"""Finds the k largest logits of each row. Equal ones stay in the order of their ids, unlike those of `torch.topk`."""

from __future__ import annotations

import torch
from torch import Tensor


def on_host(tensor: Tensor) -> bool:
    """Whether reading a number of the tensor is free. Elsewhere the program would wait for the device."""
    return tensor.device.type == "cpu"


def largest(z: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Finds the k largest entries of each row without sorting the row.

    On the host, only rows with ties are looked at twice. On a device all rows are, because asking which rows have ties
    would wait for it.

    Args:
        z: [n, c].
        k: at most c.

    Returns:
        The entries [n, k], in descending order, and their columns [n, k]. Of equal entries the first columns are taken,
        in ascending order.
    """
    found, at = z.topk(min(k + 1, z.shape[1]), dim=1)
    values, ids = found[:, :k], at[:, :k]
    if not on_host(z):
        return _in_order(z, values, ids)
    tied = (found[:, 1:] == found[:, :-1]).any(1)
    if tied.any():
        values[tied], ids[tied] = _in_order(z[tied], values[tied], ids[tied])
    return values, ids


def _in_order(z: Tensor, values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Corrects the columns that `topk` chose among equal entries, and their order. It reads no number on the host."""
    columns, k = z.shape[1], values.shape[1]
    least = values[:, -1:]
    equal = torch.where(z == least, torch.arange(columns, dtype=torch.int32, device=z.device), columns)
    first = equal.topk(k, dim=1, largest=False).values  # the first columns of entries that equal the k-th largest
    above = values > least
    turn = (~above).cumsum(1).sub_(1).clamp_min_(0)
    ids = torch.where(above, ids, first.gather(1, turn)).clamp_max_(columns - 1)  # a row with NaN may find too few
    order = ids.argsort(1)
    values, ids = values.gather(1, order), ids.gather(1, order)
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values, ids.gather(1, order)
