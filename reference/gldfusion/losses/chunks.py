"""Chunks: the smallest pieces of a response that begin and end at a token border in both tokenisations.

A pair joins two positions whose labels start at the same byte. So a chunk begins at each pair, and ends where the next
pair begins. The chunk after the last pair is complete only if both models read the text to its end, which the row
`signals.END` after the pairs says; otherwise there is no chunk at the last pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gldfusion.signals import END, valid_pairs


@dataclass(frozen=True, eq=False)
class Chunks:
    """The chunks of B texts. Row p belongs to the chunk that begins at pair p, if there is one."""

    complete: Tensor
    """[B, P] bool, whether a complete chunk begins at this pair"""
    ours: Tensor
    """[B, T] the row of the chunk of each pivot position; P where it is in none"""
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
        complete = valid & (later | ended)
        places = pairs.clamp_min(0).unbind(-1)
        ours, theirs = (
            _rows(mask, place, valid, complete) for mask, place in zip((pivot_mask, source_mask), places, strict=True)
        )
        return cls(complete, ours, theirs)

    def totals(self, values: Tensor, rows: Tensor) -> Tensor:
        """Sums values [B, T] of positions over each chunk: [B, P], with 0 where there is no chunk.

        Args:
            values: the values. Those outside of chunks are not read.
            rows: `ours` or `theirs`.
        """
        inside = torch.where(rows < self.complete.shape[1], values, 0)
        return values.new_zeros(len(rows), self.complete.shape[1] + 1).scatter_add(1, rows, inside)[:, :-1]

    def lengths(self, rows: Tensor) -> Tensor:
        """The number of labels in each chunk: [B, P]. Argument as for `totals`."""
        return self.totals(torch.ones_like(rows), rows)


def _rows(mask: Tensor, places: Tensor, valid: Tensor, complete: Tensor) -> Tensor:
    """The row [B, T] of the last valid pair at or before each position; P if it has no complete chunk."""
    b, size = places.shape
    none = places.new_full((b, mask.shape[1] + 1), -1)
    rows = torch.arange(size, device=places.device).expand(b, size)
    begins = none.scatter_reduce(1, torch.where(valid, places, mask.shape[1]), torch.where(valid, rows, -1), "amax")
    last = begins[:, :-1].cummax(1).values
    known = mask & (last >= 0) & complete.gather(1, last.clamp_min(0))
    return torch.where(known, last, size)
