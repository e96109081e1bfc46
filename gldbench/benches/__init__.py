"""Benchmarks of the fused loss, one script each: `python -m gldbench.benches.cross_entropy --help`."""
