"""What a run of a table will cost, for each model: items, tokens, GPU memory, hours and disk, before anything starts.

All numbers are estimates from the sizes and the assumptions in the table's YAML; `assumptions` says them in sentences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gldbench.tables.definition import Table, TableModel

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "auto": 2}
"""bytes of one number in each data type; "auto" is taken for a half-precision checkpoint"""
OVERHEAD = 4e9
"""bytes of activations, CUDA graphs and the library on each GPU"""


@dataclass(frozen=True)
class Estimate:
    """The expected cost of one model."""

    model: str
    items: int
    prompt_tokens: int
    answer_tokens: int
    """expected"""
    most_answer_tokens: int
    """if every answer reaches the token limit"""
    memory: float
    """bytes on each GPU: weights, keys and values of the sequences that run at once, overhead"""
    sequences: int
    """number of sequences of mean length that run at once"""
    fits: bool
    """whether one sequence of the full length fits into the memory of the GPUs"""
    hours: float
    most_hours: float
    """if every answer reaches the token limit"""
    disk: float
    """bytes of weights and responses"""


def estimates(table: Table, names: Sequence[str], limit: int | None) -> list[Estimate]:
    """Estimates the cost of each model.

    Args:
        table: the table.
        names: keys of `table.models`.
        limit: most items of each row; None: all.
    """
    return [_estimate(table, name, table.models[name], limit) for name in names]


def _estimate(table: Table, name: str, model: TableModel, limit: int | None) -> Estimate:
    hardware, engine = table.hardware, table.engine
    counts = {title: min(row.items, limit or row.items) for title, row in table.rows.items()}
    items = sum(counts.values())
    prompt = sum(counts[t] * row.prompt_characters for t, row in table.rows.items()) / hardware.characters_per_token
    expected = sum(
        counts[t] * min(table.max_tokens, row.answer_tokens * model.verbosity) for t, row in table.rows.items()
    )
    size = BYTES[engine.dtype]
    weights = model.parameters * size
    per_token = 2 * model.layers * model.kv_heads * model.head_size * size  # keys and values
    gpus = engine.tensor_parallel
    room = gpus * (hardware.memory - OVERHEAD) - weights
    longest = max(r.prompt_characters for r in table.rows.values()) / hardware.characters_per_token + table.max_tokens

    def at_once(answers: float) -> int:
        """Number of sequences that fit, if all answers together have so many tokens."""
        return max(0, min(engine.batch_size, items, int(room / (per_token * (prompt + answers) / items))))

    def hours(answers: float) -> float:
        sequences = at_once(answers)
        if sequences == 0:
            return math.inf
        context = (prompt + answers / 2) / items
        step = (weights + sequences * per_token * context) / (gpus * hardware.bandwidth * hardware.bandwidth_share)
        compute = 2 * model.parameters * (prompt + answers) / (gpus * hardware.flops * hardware.flops_share)
        return (hardware.start_seconds + compute + answers / sequences * step) / 3600

    sequences = at_once(expected)
    memory = OVERHEAD + (weights + sequences * per_token * (prompt + expected) / items) / gpus

    most = items * table.max_tokens
    return Estimate(
        model=name,
        items=items,
        prompt_tokens=round(prompt),
        answer_tokens=round(expected),
        most_answer_tokens=most,
        memory=memory,
        sequences=sequences,
        fits=room >= per_token * longest,
        hours=hours(expected),
        most_hours=hours(most),
        disk=weights + hardware.characters_per_token * (prompt + expected),
    )


def assumptions(table: Table) -> list[str]:
    """The assumptions behind the estimates, as sentences."""
    hardware, engine = table.hardware, table.engine
    return [
        f"{engine.tensor_parallel} x {hardware.title} for each model, weights in {engine.dtype}, backend "
        f"{engine.backend}, at most {engine.batch_size} sequences at once.",
        f"A token has {hardware.characters_per_token:g} characters. Answers are as long as the table's YAML expects "
        f"(answer_tokens, verbosity), and at most {table.max_tokens} tokens.",
        f"Decoding reaches {hardware.bandwidth_share:.0%} of {hardware.bandwidth / 1e12:.2f} TB/s, reading of prompts "
        f"{hardware.flops_share:.0%} of {hardware.flops / 1e12:.0f} TFLOP/s; loading takes "
        f"{hardware.start_seconds:g} s. The last long answers of a batch run alone, which these numbers do not count.",
        f"GPU memory: weights, keys and values of the sequences at once, and {OVERHEAD / 1e9:.0f} GB for the rest. "
        "vLLM reserves 92 % of a GPU in any case.",
        "Disk: the weights once, and prompts and answers as plain text. Download time is not counted.",
        "None of these numbers was measured on such a machine.",
    ]


def as_json(table: Table, found: Sequence[Estimate]) -> Mapping[str, Any]:
    """The estimates as JSON types: bytes, hours and tokens."""
    return {
        "table": table.name,
        "models": [{**vars(one), "hours": _finite(one.hours), "most_hours": _finite(one.most_hours)} for one in found],
        "assumptions": assumptions(table),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


HEADER = (
    "model",
    "items",
    "prompt tokens",
    "answer tokens",
    "at the limit",
    "GB per GPU",
    "at once",
    "hours",
    "hours at the limit",
    "GB of disk",
)


def as_rows(found: Sequence[Estimate]) -> list[tuple[str, ...]]:
    """HEADER, one row of text for each model, and one for all of them, one after the other."""
    rows: list[tuple[str, ...]] = [HEADER]
    for one in found:
        rows.append(
            (
                one.model,
                f"{one.items:,}",
                f"{one.prompt_tokens:,}",
                f"{one.answer_tokens:,}",
                f"{one.most_answer_tokens:,}",
                f"{one.memory / 1e9:.0f}" if one.fits else "does not fit",
                str(one.sequences),
                f"{one.hours:.1f}" if one.fits else "",
                f"{one.most_hours:.1f}" if one.fits else "",
                f"{one.disk / 1e9:.0f}",
            )
        )
    rows.append(
        (
            "all, one after the other",
            f"{sum(one.items for one in found):,}",
            f"{sum(one.prompt_tokens for one in found):,}",
            f"{sum(one.answer_tokens for one in found):,}",
            f"{sum(one.most_answer_tokens for one in found):,}",
            "",
            "",
            f"{sum(one.hours for one in found if one.fits):.1f}",
            f"{sum(one.most_hours for one in found if one.fits):.1f}",
            f"{sum(one.disk for one in found) / 1e9:.0f}",
        )
    )
    return rows
