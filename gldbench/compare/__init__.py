"""Compares two checkpoints on the same items: `read` reads their stored rows, `comparison` computes."""
