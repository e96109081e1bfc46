"""Adapters; not used."""


class LoRARequest:
    """Never made."""
