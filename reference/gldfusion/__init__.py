"""GLD fusion: the reference implementation of graph-on-logits distillation."""

__version__ = "0.1.0"
