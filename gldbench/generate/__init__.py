"""Responses of checkpoints, each generated once: `BACKENDS`, batch plans, checkpoints."""
