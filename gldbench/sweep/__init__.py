"""Sweeps: one recipe for several pivots and sources, from caches to scores, as jobs that any engine can run."""
