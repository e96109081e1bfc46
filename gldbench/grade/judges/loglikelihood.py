"""Multiple choice by log-likelihood: the option that the model finds likeliest is its answer.

The metrics acc and acc_norm are those of Gao et al., The Language Model Evaluation Harness.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from gldbench.grade.judges.judge import Judge, Mark
from gldbench.schema import Item, Task

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """Two marks per item, filters "acc" (highest log-likelihood) and "acc_norm" (highest one per byte of the text).

    In a tie the first option wins, as in lm-eval. lm-eval's own acc_norm divides by the number of characters, which
    differs from the number of bytes only for options that are not ASCII.
    """
    return [_marks(item, likelihoods(output, len(item.choices))) for item, output in zip(items, outputs, strict=True)]


def _marks(item: Item, values: list[float] | None) -> list[Mark]:
    if values is None:
        reason = f"not the JSON of {len(item.choices)} log-likelihoods"
        return [
            Mark(filter=name, metric="accuracy", value=0.0, answered=False, reason=reason)
            for name in ("acc", "acc_norm")
        ]
    texts = [choice.removeprefix(" ") for choice in item.choices]  # the space only separates the option from the prompt
    per_byte = [value / max(1, len(text.encode())) for value, text in zip(values, texts, strict=True)]
    gold = LETTERS.index(item.target)
    return [
        Mark(filter=name, metric="accuracy", value=float(scores.index(max(scores)) == gold), answered=True)
        for name, scores in (("acc", values), ("acc_norm", per_byte))
    ]


def likelihoods(output: str, expected: int) -> list[float] | None:
    """The log-likelihoods that the output stores as JSON, one per option. None where the output is anything else."""
    try:
        parsed: Any = json.loads(output)
    except (ValueError, RecursionError):
        return None
    values = parsed.get("loglikelihoods") if isinstance(parsed, dict) else None
    if not isinstance(values, list) or len(values) != expected:
        return None
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return None if len(numbers) < expected or any(map(math.isnan, numbers)) else numbers


LOGLIKELIHOOD = Judge(judge)
