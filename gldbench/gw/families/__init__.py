"""The families of graph pairs by name. A family is a function from a size and a random generator to a problem."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gldbench.gw.families import classical, logits, structured
from gldbench.gw.families.logits import NODES, VALUES
from gldbench.gw.problem import Problem

Family = Callable[[int, np.random.Generator], Problem]

FAMILIES: dict[str, Family] = {
    **{f"synthetic-{nodes}-{values}": logits.synthetic(nodes, values) for nodes in NODES for values in VALUES},
    "sparse-vocabulary": logits.sparse_vocabulary,
    "rank-one": structured.rank_one,
    "blocks-constant": structured.blocks_against_constant,
    "half-step": structured.half_step_against_rank_one,
    "blocks-all-pairs": structured.blocks_against_all_pairs,
    "circulants": structured.circulants,
    "permuted-copy": structured.permuted_copy,
    "erdos-renyi": classical.erdos_renyi,
    "stochastic-blocks": classical.stochastic_blocks,
    "euclidean": classical.euclidean,
}
REAL = tuple(f"real-{nodes}-{values}" for nodes in NODES for values in VALUES)
"""families that need the logits of real models; `gldbench.gw.real.real_families` makes them"""

__all__ = ["FAMILIES", "REAL", "Family"]
