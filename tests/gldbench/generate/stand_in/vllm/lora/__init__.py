"""Adapters; not used."""
