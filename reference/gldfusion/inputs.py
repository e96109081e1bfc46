"""Tokenised texts as one batch, padded or packed: the input of `SignalModel`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gldfusion.align import Encoded
from gldfusion.errors import InputError


@dataclass(frozen=True, eq=False)
class Inputs:
    """B texts with at most T labels each, in R rows of L tokens, padded on the right.

    Without packing every text has a row of its own: R = B.
    """

    input_ids: Tensor
    """[R, L] token ids"""
    attention_mask: Tensor
    """[R, L] 1 at tokens and 0 at padding"""
    positions: Tensor
    """[B, T] place in its row of the position that predicts each label; `Encoded.predicting` makes the shift"""
    labels: Tensor
    """[B, T] token id of each label"""
    mask: Tensor
    """[B, T] bool, False at padding"""
    rows: Tensor | None = None
    """[B] the row of each text. None: text b is row b"""
    position_ids: Tensor | None = None
    """[R, L] place of each token in its text, for packed rows; 0 at padding, so that each padding token is a text of
    its own. None: one text in each row"""
    slots: Tensor | None = None
    """[N] index of each unmasked position in the flattened mask. It is made with the batch: on a GPU the program would
    have to wait for it"""

    def __post_init__(self) -> None:
        if self.slots is None:
            object.__setattr__(self, "slots", self.mask.flatten().nonzero()[:, 0])

    @property
    def padding(self) -> int:
        """The number of places that hold no token."""
        return self.attention_mask.numel() - int(self.attention_mask.sum())

    def model_inputs(self) -> dict[str, Tensor]:
        """The arguments of a transformers model.

        A packed batch has no attention mask: transformers then separates the texts by their positions.
        """
        if self.position_ids is None:
            return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        return {"input_ids": self.input_ids, "position_ids": self.position_ids}

    def to(self, device: torch.device) -> Inputs:
        """The batch on another device."""
        held = {name: tensor for name, tensor in vars(self).items() if tensor is not None}
        return Inputs(**{name: moved(tensor, device) for name, tensor in held.items()})


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on another device. A copy to a GPU starts from pinned memory, so the program does not wait for it.

    After `expand`, several entries share one place of memory. Such a tensor cannot be pinned; it is written out before.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.contiguous().pin_memory()
    return tensor.to(device, non_blocking=True)


def require_embedded(encoded: Encoded, rows: int, tokenizer: Any, example: str) -> None:
    """Checks that a model has an embedding for every token of a text.

    A tokenizer may have more tokens than the model, because transformers adds some. Only those in a text matter.

    Args:
        encoded: the text.
        rows: number of embeddings of the model.
        tokenizer: of the model, for the message.
        example: id of the text, for the message.

    Raises:
        InputError: one is missing. It would stop the program, on a GPU without a message.
    """
    largest = max(encoded.ids, default=0)
    if largest >= rows:
        word = tokenizer.convert_ids_to_tokens(largest)
        raise InputError(
            f"example {example}: the token {word!r} has the id {largest}, "
            f"but the model of {tokenizer.name_or_path} has embeddings for {rows} ids\n"
            "save the tokenizer that the model was trained with, or call model.resize_token_embeddings and save both"
        )


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


def collate(encoded: Sequence[Encoded], rows: Sequence[Sequence[int]] | None = None) -> Inputs:
    """Joins tokenised texts into one batch.

    Padding has the id 0. That may be the id of a real token, but no model and no loss reads a masked position.

    Args:
        encoded: the texts.
        rows: for a packed batch, the texts of each row, as indices into `encoded` (`packing.Packer.rows`). None: every
            text has a row of its own, and the batch is not packed.
    """
    ids = [np.asarray(e.ids, dtype=np.int64) for e in encoded]
    labels = [row[e.labelled] for row, e in zip(ids, encoded, strict=True)]
    places = [np.asarray(e.predicting, dtype=np.int64) for e in encoded]
    row_of = np.arange(len(encoded))
    joined, counted = ids, None
    if rows is not None:
        joined = [np.concatenate([ids[i] for i in row]) for row in rows]
        counted = pad([np.concatenate([np.arange(len(ids[i])) for i in row]) for row in rows], 0)
        for number, row in enumerate(rows):
            first = 0
            for i in row:
                row_of[i], places[i] = number, places[i] + first
                first += len(ids[i])
    return Inputs(
        input_ids=pad(joined, 0),
        attention_mask=pad([np.ones_like(row) for row in joined], 0),
        positions=pad(places, 0),
        labels=pad(labels, 0),
        mask=pad([np.ones(len(row), dtype=bool) for row in labels], False),
        rows=None if rows is None else torch.from_numpy(row_of),
        position_ids=counted,
    )
