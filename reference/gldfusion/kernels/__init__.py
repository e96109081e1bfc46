"""Computes the cross-entropy and the k largest logits together, in one pass over the vocabulary."""

from gldfusion.kernels.dispatch import topk_cross_entropy
from gldfusion.kernels.lookup import logits_at
from gldfusion.kernels.naive import TopKCrossEntropy

__all__ = ["TopKCrossEntropy", "logits_at", "topk_cross_entropy"]
