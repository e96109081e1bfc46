"""The disk space of a fusion: models, caches, training states and the fused checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gldbench.plan.figures import Figure
from gldbench.plan.memory import MOMENTS
from gldbench.plan.passes import Pass
from gldbench.plan.settings import BYTES, Settings
from gldfusion.recipe import TrainSpec
from gldfusion.state import KEPT

STORED = 2
"""bytes of a parameter in a checkpoint as it is published"""
PER_TOKEN = {"values": 20.5, "ids": 30.8, "rest": 6.0}
"""bytes that a cache takes for each token at k = 10, measured in reports/cache/bench_cache.csv"""


def disk(
    pivot: Pass,
    base: int,
    stored: float,
    sources: Sequence[int],
    caches: Figure,
    settings: Settings,
    train: TrainSpec,
    steps: int,
) -> list[Figure]:
    """Bytes on disk, part by part.

    Args:
        pivot: the pass of a micro-batch of the pivot.
        base: parameters of the pivot without adapters.
        stored: bytes of each of them in its checkpoint.
        sources: parameters of the used sources.
        caches: see `caches_on_disk`.
        settings: the settings.
        train: the settings of the training in the recipe.
        steps: number of optimizer steps.
    """
    models = stored * base + STORED * sum(sources)
    each = (4 if settings.lora else BYTES[settings.dtype]) + MOMENTS[settings.optimizer]
    count = min(KEPT + 1, (steps - 1) // train.save_every)
    when = f"at most {count} at the same time" if count else "none is written before the last step"
    about = f"{each} bytes for each trained parameter; {when} (save_every: {train.save_every})"
    return [
        Figure("models on disk", models, "B", f"pivot: {stored:g} bytes for each parameter, sources: {STORED}"),
        caches,
        Figure("training states", float(count * each * pivot.trainable), "B", about),
        _fused(pivot, base, stored, train),
    ]


def _fused(pivot: Pass, base: int, stored: float, train: TrainSpec) -> Figure:
    """Bytes of what the fusion writes at the end."""
    size, about = stored * base, f"{stored:g} bytes for each parameter, as in the pivot's checkpoint"
    if train.lora is not None and train.lora.export == "adapter":
        size, about = 4.0 * pivot.trainable, "adapters alone, 4 bytes for each parameter"
    if train.evaluate_every:
        size, about = 2 * size, f"{about}; twice, because the best one is kept too"
    return Figure("fused checkpoint", size, "B", about)


def caches_on_disk(tokens: float, k: int, columns: Collection[str]) -> Figure:
    """Bytes of all caches.

    Args:
        tokens: tokens in all caches together.
        k: logits of each token.
        columns: columns of the caches.
    """
    each = (PER_TOKEN["values"] + PER_TOKEN["ids"] * ("ids" in columns)) * k / 10
    each += PER_TOKEN["rest"] * any(column not in ("values", "ids") for column in columns)
    return Figure("caches on disk", each * tokens, "B", f"{each:.1f} bytes for each token of each cached source")
