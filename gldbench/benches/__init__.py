"""Benchmark scripts, one file each: `python -m gldbench.benches.NAME --help`.

`cross_entropy`, `uld` and `equality` measure kernels, `steps` whole training steps, `gpu_report` all of these on a GPU,
`cache` the source cache, `coverage` the pairing of tokenizers, and `generation` the cost of our generation compared
with plain lm-eval. `command_line` holds what they share.
"""
