"""Turns the signals of texts into the columns of a shard, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gldfusion.sources import SequenceSignal

OPTIONAL = ("ids", "lse", "mean", "std", "nll")
"""columns that a cache need not have"""
FURTHER, REACH = 15, 14
"""the half-byte that only moves forward, and the number of bytes of text by which it moves"""


def needed_columns(needs: Collection[str]) -> tuple[str, ...]:
    """The optional columns that losses with these `needs` read (see `losses.Loss.needs`)."""
    also = {"ids": "mapped", "mean": "moments", "std": "moments"}
    return tuple(name for name in OPTIONAL if name in needs or also.get(name) in needs)


def pack_signals(
    keys: Sequence[bytes], signals: Sequence[SequenceSignal], columns: Collection[str], vocabulary: int
) -> dict[str, NDArray]:
    """Makes the columns of one shard. `gldfusion.cache` describes them.

    Args:
        keys: 16 bytes for each text (`store.row_key`).
        signals: one for each text.
        columns: which of the optional columns to make.
        vocabulary: number of entries of the source's output layer.
    """

    def joined(name: str) -> NDArray:
        return np.concatenate([getattr(signal, name) for signal in signals])

    values = joined("values")
    top = values[:, 0]
    starts = [pack_starts(signal.starts) for signal in signals]
    packed: dict[str, NDArray] = {
        "keys": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 16),
        "positions": _ends([len(signal.values) for signal in signals]),
        "bytes": _ends([len(part) for part in starts]),
        "top": top.astype(np.float16),
        "gaps": (top[:, None] - values[:, 1:]).astype(np.float16),
        "starts": np.concatenate(starts),
    }
    if "ids" in columns:
        packed["ids"] = pack_ids(joined("ids"), vocabulary)
    if "lse" in columns:
        packed["lse"] = (joined("lse") - top).astype(np.float16)
    if "mean" in columns:
        packed["mean"] = (top - joined("mean")).astype(np.float16)
    if "std" in columns:
        packed["std"] = joined("std").astype(np.float16)
    if "nll" in columns:
        packed["nll"] = joined("nll").astype(np.float32)  # sums of many enter a chunk
    return packed


def unpack_signal(columns: Mapping[str, NDArray], row: int, k: int) -> SequenceSignal:
    """The signal of one text. Fields that are not stored are None.

    Args:
        columns: the columns of a shard.
        row: number of the text in the shard.
        k: how many of the stored logits to read per position.
    """
    span = slice(int(columns["positions"][row]), int(columns["positions"][row + 1]))
    top = columns["top"][span].astype(np.float32)
    values = np.empty((len(top), k), dtype=np.float32)
    values[:, 0] = top
    np.subtract(top[:, None], columns["gaps"][span, : k - 1], out=values[:, 1:])
    return SequenceSignal(
        values=values,
        ids=unpack_ids(columns["ids"][:, span, :k]) if "ids" in columns else None,
        lse=top + columns["lse"][span] if "lse" in columns else None,
        mean=top - columns["mean"][span] if "mean" in columns else None,
        std=columns["std"][span].astype(np.float32) if "std" in columns else None,
        starts=starts_of(columns, row),
        nll=columns["nll"][span].astype(np.float32) if "nll" in columns else None,
    )


def starts_of(columns: Mapping[str, NDArray], row: int) -> NDArray[np.int64]:
    """The byte at which each label of one text starts; -1 inside a character."""
    ends = columns["bytes"]
    return unpack_starts(columns["starts"][int(ends[row]) : int(ends[row + 1])])


def pack_starts(starts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Packs the start bytes of the labels into about half a byte each.

    A half-byte of 1 to 14 is the distance from the previous start (for the first label, from -1). 0 means a start of
    -1. 15 means: move forward by 14; the next half-byte has the rest of the distance. Two half-bytes make a byte, the
    first in the low half. If their number is odd, a 15 fills the last byte.

    Args:
        starts: one for each label, as in `align.Encoded`: the values other than -1 are strictly increasing.
    """
    inside = starts < 0
    way = np.zeros(len(starts), dtype=np.int64)
    way[~inside] = np.diff(starts[~inside], prepend=-1)
    longer = np.where(inside, 0, (way - 1) // REACH)
    halves = np.full(len(starts) + int(longer.sum()), FURTHER, dtype=np.uint8)
    halves[np.arange(len(starts)) + np.cumsum(longer)] = np.where(inside, 0, way - REACH * longer)
    if len(halves) % 2:
        halves = np.append(halves, np.uint8(FURTHER))
    return halves[::2] | halves[1::2] << np.uint8(4)


def unpack_starts(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The inverse of `pack_starts`."""
    halves = np.empty(2 * len(packed), dtype=np.uint8)
    halves[::2] = packed & 15
    halves[1::2] = packed >> 4
    at = np.cumsum(np.minimum(halves, REACH), dtype=np.int64) - 1
    return np.where(halves == 0, -1, at)[halves != FURTHER]


def pack_ids(ids: NDArray[np.int64], vocabulary: int) -> NDArray[np.uint8]:
    """Splits ids [P, k] into their bytes [w, P, k], lowest byte first. w is what the vocabulary needs, at least 2."""
    width = 2 if vocabulary <= 2**16 else 3 if vocabulary <= 2**24 else 4
    return np.stack([(ids >> 8 * byte & 255).astype(np.uint8) for byte in range(width)])


def unpack_ids(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The inverse of `pack_ids`: [P, k] from [w, P, k]."""
    ids = np.zeros(packed.shape[1:], dtype="<i8")
    places = ids.view(np.uint8).reshape(*ids.shape, 8)
    for byte, part in enumerate(packed):
        places[..., byte] = part
    return ids


def _ends(lengths: Sequence[int]) -> NDArray[np.uint32]:
    """Where each part begins if the parts are joined, and where the last part ends."""
    return np.cumsum([0, *lengths]).astype(np.uint32)
