"""Chunks: the smallest pieces of a response that begin and end at a token border in both tokenisations.

A pair joins two positions whose labels start at the same byte. So a chunk begins at each pair, and ends where the next
pair begins. The chunk after the last pair is complete only if both models read the text to its end, which the row
`signals.END` after the pairs says; otherwise there is no chunk at the last pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gldfusion.signals import END, valid_pairs


@dataclass(frozen=True, eq=False)
class Chunks:
    """The chunks of B texts: the positions from each pair to the next one."""

    complete: Tensor
    """[B, P] bool, whether a complete chunk begins at this pair"""
    ours: Tensor
    """[B, T] the row of the last pair at or before each pivot position; P where there is none"""
    theirs: Tensor
    """[B, T_s] the same for each source position"""

    @classmethod
    def of(cls, pivot_mask: Tensor, source_mask: Tensor, pairs: Tensor) -> Chunks:
        """Finds the chunks.

        Args:
            pivot_mask: [B, T].
            source_mask: [B, T_s].
            pairs: [B, P, 2], as in `Loss.__call__`.
        """
        valid = valid_pairs(pivot_mask, source_mask, pairs)
        later = valid.flip(1).cumsum(1).flip(1) > valid.long()  # another valid pair follows
        ended = (pairs == END).all(-1).any(1, keepdim=True)
        places = pairs.clamp_min(0).unbind(-1)
        ours, theirs = (
            _rows(mask, place, valid) for mask, place in zip((pivot_mask, source_mask), places, strict=True)
        )
        found = cls(valid & (later | ended), ours, theirs)
        # a position that is paired twice leaves the first of the two chunks without a label
        return replace(found, complete=found.complete & (found.lengths(ours) > 0) & (found.lengths(theirs) > 0))

    def totals(self, values: Tensor, rows: Tensor) -> Tensor:
        """Sums values [B, T] of the positions that belong to each pair: [B, P].

        Args:
            values: the values. Those at masked positions and before the first pair are not read.
            rows: `ours` or `theirs`.
        """
        inside = torch.where(rows < self.complete.shape[1], values, 0)
        return values.new_zeros(len(rows), self.complete.shape[1] + 1).scatter_add(1, rows, inside)[:, :-1]

    def lengths(self, rows: Tensor) -> Tensor:
        """The number of labels that belong to each pair: [B, P]. Argument as for `totals`."""
        return self.totals(torch.ones_like(rows), rows)


def one_to_one(pivot_mask: Tensor, source_mask: Tensor, pairs: Tensor) -> Tensor:
    """Which pairs [B, P] join two labels that cover the same bytes: each begins a chunk that is one label for both."""
    chunks = Chunks.of(pivot_mask, source_mask, pairs)
    return chunks.complete & (chunks.lengths(chunks.ours) == 1) & (chunks.lengths(chunks.theirs) == 1)


def _rows(mask: Tensor, places: Tensor, valid: Tensor) -> Tensor:
    """The row [B, T] of the last valid pair at or before each position; P if there is none, or if it is masked."""
    b, size = places.shape
    none = places.new_full((b, mask.shape[1] + 1), -1)
    rows = torch.arange(size, device=places.device).expand(b, size)
    begins = none.scatter_reduce(1, torch.where(valid, places, mask.shape[1]), torch.where(valid, rows, -1), "amax")
    last = begins[:, :-1].cummax(1).values
    return torch.where(mask & (last >= 0), last, size)
