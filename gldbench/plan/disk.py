"""The disk space of a fusion: models, caches, training states and the fused checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gldbench.plan.figures import Figure

STORED = 2
"""bytes of a parameter in a checkpoint as it is published"""
PER_TOKEN = {"values": 20.5, "ids": 30.8, "rest": 6.0}
"""bytes that a cache takes for each token at k = 10, measured in reports/cache/bench_cache.csv"""


def disk(
    pivot: int,
    trainable: int,
    sources: Sequence[int],
    cached_tokens: float,
    k: int,
    columns: Collection[str],
    best: bool,
) -> list[Figure]:
    """Bytes on disk, part by part.

    Args:
        pivot: parameters of the pivot.
        trainable: those that are trained.
        sources: parameters of the used sources.
        cached_tokens: tokens in all caches together.
        k: logits of each token.
        columns: columns of the caches.
        best: whether the best checkpoint is kept while training.
    """
    each = (PER_TOKEN["values"] + PER_TOKEN["ids"] * ("ids" in columns)) * k / 10
    each += PER_TOKEN["rest"] * any(column not in ("values", "ids") for column in columns)
    models = STORED * (pivot + sum(sources))
    return [
        Figure("models on disk", models, "B", f"pivot and sources, {STORED} bytes for each parameter"),
        Figure("caches on disk", each * cached_tokens, "B", f"{each:.1f} bytes for each token of each cached source"),
        Figure("training states", 2 * 12 * trainable, "B", "two states with float32 weights and both moments of AdamW"),
        Figure(
            "fused checkpoint",
            4 * pivot * (2 if best else 1),
            "B",
            "4 bytes for each parameter" + (", twice: the best one is kept too" if best else ""),
        ),
    ]
