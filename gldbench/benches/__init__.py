"""Benchmarks of the fused loss, one script each: `python -m gldbench.kernels.bench_ce --help`."""
