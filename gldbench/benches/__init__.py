"""Benchmark scripts, one file each: `python -m gldbench.benches.NAME --help`.

`cross_entropy`, `uld` and `equality` measure kernels, `steps` whole training steps, `gpu_report` all of these on a GPU,
`cache` the source cache, `coverage` the pairing of tokenizers, and `generation` the cost of our generation compared
with plain lm-eval. `graph_facts` measures what the co-activation graph sees, and `along_training` how distances and
gradients develop while a pivot is trained. `command_line` holds what they share.
"""
