"""Two checkpoints on the same items: `read` finds their rows, `comparison` computes."""
