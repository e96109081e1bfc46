"""Generates the responses of a checkpoint, each one once: `generate` (with `BACKENDS`), `plan` and `checkpoint`."""
