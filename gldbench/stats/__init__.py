"""Means, intervals and paired tests.

`items` works on the items of one or two checkpoints, `seeds` on training runs with several seeds. `averages` forms
means over subtasks and tasks; import it as `gldbench.stats.averages`.
"""

from __future__ import annotations

from gldbench.stats.intervals import CONFIDENCE, chance_corrected, correct_estimate, macro_mean, wilson
from gldbench.stats.items import ItemMean, PairedItems, item_mean, paired_items
from gldbench.stats.seeds import PairedDifference, binary_mean, bootstrap_mean, paired_difference, too_few_seeds
from gldbench.stats.significance import holm, mcnemar_p, sampled_sign_flip_p, sign_flip_p

__all__ = [
    "CONFIDENCE",
    "ItemMean",
    "PairedDifference",
    "PairedItems",
    "binary_mean",
    "bootstrap_mean",
    "chance_corrected",
    "correct_estimate",
    "holm",
    "item_mean",
    "macro_mean",
    "mcnemar_p",
    "paired_difference",
    "paired_items",
    "sampled_sign_flip_p",
    "sign_flip_p",
    "too_few_seeds",
    "wilson",
]
