"""Cross-entropy and the retained logits, in one pass over the vocabulary."""

from gldfusion.kernels.naive import TopKCrossEntropy, topk_cross_entropy

__all__ = ["TopKCrossEntropy", "topk_cross_entropy"]
