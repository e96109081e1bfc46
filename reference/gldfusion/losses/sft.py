"""Supervised fine-tuning: cross-entropy on the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gldfusion.signals import PivotSignal, Signal


@dataclass(frozen=True)
class Sft:
    """Supervised fine-tuning (SFT): cross-entropy on the labels.

    The loss is sum_t -log P(label_t), in nats. One unit is a labelled position.
    """

    citation: ClassVar[str] = "standard cross-entropy; InfiGFusion (arXiv 2505.13893), L_SFT"
    formula: ClassVar[str] = "sum_t CE(logits_t, label_t)"
    needs_source: ClassVar[bool] = False
    same_vocabulary: ClassVar[bool] = False

    @property
    def needs(self) -> frozenset[str]:
        """Nothing; see `Loss.needs`."""
        return frozenset()

    def __call__(self, pivot: PivotSignal, source: Signal | None = None, pairs: Tensor | None = None) -> Tensor:
        """The sum over the labelled positions. `source` and `pairs` are not used."""
        return torch.where(pivot.mask, pivot.nll, 0).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None = None, pairs: Tensor | None = None) -> int:
        """The number of labelled positions."""
        return int(pivot_mask.sum())
