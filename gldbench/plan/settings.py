"""The settings of a training that decide its memory and its time; changes are tried on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gldfusion.recipe import Recipe, SourceSpec

Parallel = Literal["ddp", "fsdp"]
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""bytes of a number of each type"""


@dataclass(frozen=True)
class Settings:
    """What the recipe and the launcher say."""

    micro_batch: int
    """texts in a forward pass of one process"""
    parallel: Parallel
    """how processes share the work: each has the whole model (ddp), or a part of all weights (fsdp)"""
    autocast: bool
    """bf16 products from weights of another type"""
    dtype: str
    """type of the trained weights"""
    checkpointing: bool
    optimizer: str
    lora: tuple[int, tuple[str, ...]] | None
    quantized: bool
    """the frozen weights under the adapters take 4 bits each"""
    cached: bool
    """no source runs beside the pivot"""
    half_sources: bool = True
    """every source runs in 16 bits"""
    offload: bool = True
    """no source keeps its weights on the device of the pivot"""


def _names(targets: Any) -> tuple[str, ...]:
    return () if isinstance(targets, str) else tuple(targets)


def settings_of(recipe: Recipe, ranks: int, parallel: Parallel) -> Settings:
    """The settings of a recipe.

    Args:
        recipe: the recipe.
        ranks: number of processes.
        parallel: how they share the work.
    """
    train = recipe.train
    extra: Mapping[str, Any] = train.model_dump()
    lora = extra.get("lora")
    return Settings(
        micro_batch=train.micro_batch_size or max(1, train.batch_size // ranks),
        parallel=parallel,
        autocast=train.precision == "bf16",
        dtype=extra.get("weights") or "float32",
        checkpointing=bool(extra.get("gradient_checkpointing")),
        optimizer=train.optimizer,
        lora=(lora["rank"], _names(lora["target_modules"])) if lora else None,
        quantized=bool(lora) and lora["quantization"] == "nf4",
        cached=all(source.cache is not None for source in recipe.used_sources),
        half_sources=all(source.dtype != "float32" for source in recipe.used_sources),
        offload=all(source.offload for source in recipe.used_sources),
    )


def source_dtype(spec: SourceSpec, settings: Settings) -> str:
    """The type of a source's weights: that of the recipe, or bfloat16 if the settings ask for 16 bits."""
    return "bfloat16" if spec.dtype == "float32" and settings.half_sources else spec.dtype
