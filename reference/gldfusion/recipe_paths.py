"""Checks that what a recipe names exists. This imports neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from gldfusion.errors import InputError
from gldfusion.paths import require_cache, require_checkpoint, require_data
from gldfusion.recipe import Recipe, SourceSpec


def check_paths(recipe: Recipe) -> None:
    """Checks that everything that a fusion reads exists, before torch is imported (that takes seconds).

    It checks the data, the pivot, and for every used source its cache, or its checkpoint if it names no cache.

    Args:
        recipe: a recipe with absolute paths, as `load_recipe` returns it.

    Raises:
        InputError: names the key of the recipe whose path is wrong, for example `cache` of the source "source-a".
    """
    _check_data(recipe)
    if recipe.validation is not None:
        _check_path("validation", require_data, recipe.validation)
    checkpoint = partial(require_checkpoint, trust_remote_code=recipe.trust_remote_code)
    _check_path("pivot", checkpoint, recipe.pivot)
    for source in recipe.used_sources:
        if source.cache is None:
            _check_path(_key(source, "checkpoint"), checkpoint, source.checkpoint)
        else:
            _check_path(_key(source, "cache"), require_cache, source.cache)


def check_cache_paths(recipe: Recipe) -> None:
    """As `check_paths`, for building the caches: checks the data, and the checkpoint of every source with a cache."""
    _check_data(recipe)
    for source in recipe.sources:
        if source.cache is not None:
            trusted, weights = recipe.trust_remote_code, source.vllm is None
            checkpoint = partial(require_checkpoint, trust_remote_code=trusted, weights=weights)
            _check_path(_key(source, "checkpoint"), checkpoint, source.checkpoint)


def _check_data(recipe: Recipe) -> None:
    for part in recipe.data:
        if part.path is not None:
            _check_path("data", require_data, part.path)


def _key(source: SourceSpec, key: str) -> str:
    return f'{key} of the source "{source.name}"'


def _check_path(key: str, require: Callable[[Path], Path], path: Path) -> None:
    try:
        require(path)
    except InputError as error:
        raise InputError(f"recipe key {key}: {error}") from None
