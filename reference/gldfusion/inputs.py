"""Tokenised texts as one padded batch, the input of `SignalModel`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gldfusion.align import Encoded


@dataclass(frozen=True, eq=False)
class Inputs:
    """B texts with at most L tokens and T labels each, padded on the right."""

    input_ids: Tensor
    """[B, L] token ids"""
    attention_mask: Tensor
    """[B, L] 1 at tokens and 0 at padding"""
    positions: Tensor
    """[B, T] index into `input_ids` of the position that predicts each label; `Encoded.predicting` makes the shift"""
    labels: Tensor
    """[B, T] token id of each label"""
    mask: Tensor
    """[B, T] bool, False at padding"""
    slots: Tensor | None = None
    """[N] index of each unmasked position in the flattened mask. It is made with the batch: on a GPU the program would
    have to wait for it"""

    def __post_init__(self) -> None:
        if self.slots is None:
            object.__setattr__(self, "slots", self.mask.flatten().nonzero()[:, 0])

    def to(self, device: torch.device) -> Inputs:
        """The batch on another device."""
        return Inputs(**{name: moved(tensor, device) for name, tensor in vars(self).items()})


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on another device. A copy to a GPU starts from pinned memory, so the program does not wait for it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def pad(rows: Sequence[np.ndarray], fill: float) -> Tensor:
    """Stacks B arrays [T_i, ...] into [B, T, ...], with T = max(1, largest T_i).

    Args:
        rows: the arrays.
        fill: the value after the end of a shorter array.
    """
    out = np.full((len(rows), max(1, *(len(row) for row in rows)), *rows[0].shape[1:]), fill, dtype=rows[0].dtype)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(out)


def collate(encoded: Sequence[Encoded]) -> Inputs:
    """Joins tokenised texts into one batch.

    Padding has the id 0. That may be the id of a real token, but no model and no loss reads a masked position.
    """
    ids = [np.asarray(e.ids, dtype=np.int64) for e in encoded]
    labels = [row[e.labelled] for row, e in zip(ids, encoded, strict=True)]
    return Inputs(
        input_ids=pad(ids, 0),
        attention_mask=pad([np.ones_like(row) for row in ids], 0),
        positions=pad([np.asarray(e.predicting, dtype=np.int64) for e in encoded], 0),
        labels=pad(labels, 0),
        mask=pad([np.ones(len(row), dtype=bool) for row in labels], False),
    )
