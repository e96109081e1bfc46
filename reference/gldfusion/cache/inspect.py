"""Tells what a cache holds, and checks whether it is intact."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gldfusion.cache.columns import starts_of
from gldfusion.cache.integrity import Broken, find_faults
from gldfusion.cache.shards import MEND, Shard, open_shard, shard_paths
from gldfusion.cache.store import cached_tokenizer, read_meta
from gldfusion.errors import InputError


def verify_cache(cache: Path) -> tuple[int, list[Broken]]:
    """Reads every byte of a cache, and checks it against the manifest, and the columns of the shards and their values.

    Returns:
        How many shards there are, and the files that are broken, missing or not listed in the manifest.

    Raises:
        InputError: there is no cache of this format.
    """
    meta = read_meta(cache)
    intact, broken = find_faults(cache)
    with ThreadPoolExecutor(2) as pool:
        broken += [fault for fault in pool.map(lambda path: _shard_fault(path, meta), intact) if fault is not None]
    if "ids" in meta["columns"]:  # without ids the tokenizer is not needed and not stored
        try:
            cached_tokenizer(cache)
        except InputError as error:
            problem, _, mend = str(error).partition("\n")
            broken.append(Broken(str(cache / "tokenizer.zip"), problem, mend))
    return len(shard_paths(cache)), broken


def _shard_fault(path: Path, meta: Mapping[str, Any]) -> Broken | None:
    try:
        problem = _content_problem(open_shard(path, meta), meta)
    except InputError as error:
        problem, _, mend = str(error).partition("\n")
        return Broken(str(path), problem, mend)
    return Broken(str(path), problem, MEND) if problem else None


def _content_problem(shard: Shard, meta: Mapping[str, Any]) -> str | None:
    """What is wrong with the values of a shard whose checksum is right; None if nothing is."""
    columns = shard.columns
    ends, top, gaps = columns["positions"], columns["top"], columns["gaps"]
    if len(ends) != len(columns["keys"]) + 1 or int(ends[-1]) != len(top) or (np.diff(ends.astype(np.int64)) < 0).any():
        return "its columns `keys`, `positions` and `top` do not fit together"
    if not np.isfinite(top).all() or np.isnan(gaps).any():
        return "it holds logits that are not finite: the output of the source was already infinite or NaN"
    if "nll" in columns and not np.isfinite(columns["nll"]).all():
        return "it holds likelihoods that are not finite: the output of the source was already infinite or NaN"
    if (gaps < 0).any() or (np.diff(gaps, axis=1) < 0).any():
        return "its logits are not in descending order"
    if "ids" in columns and columns["ids"].size and _largest_id(columns["ids"]) >= meta["vocabulary"]:
        return f"it holds ids beyond the vocabulary of {meta['vocabulary']}"
    return None


def _largest_id(packed: np.ndarray) -> int:
    """The largest of packed ids [w, P, k], found byte by byte from the highest byte."""
    largest, candidates = 0, np.ones(packed.shape[1:], dtype=bool)
    for part in packed[::-1]:
        byte = int(part[candidates].max())
        candidates &= part == byte
        largest = largest << 8 | byte
    return largest


def cache_stat(cache: Path) -> dict[str, Any]:
    """What a cache holds, as plain values.

    Returns:
        `tokens`: number of labelled positions. `bytes`: size of all files, with meta.json and tokenizer. `ids`: whether
        ids are stored. `coverage`: share of the positions whose label starts at a character of the text; a pivot with
        another vocabulary cannot be paired with more. `texts`, `shards`, and settings of meta.json.

    Raises:
        InputError: there is no cache of this format, or a shard in it is not one of this cache.
    """
    meta = read_meta(cache)
    shards = [open_shard(path, meta) for path in shard_paths(cache)]
    tokens = sum(len(shard.columns["top"]) for shard in shards)
    starting = sum(
        int((starts_of(shard.columns, row) >= 0).sum()) for shard in shards for row in range(len(shard.columns["keys"]))
    )
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    return {
        "tokens": tokens,
        "bytes": size,
        "bytes_per_token": size / tokens if tokens else None,
        "shards": len(shards),
        "k": meta["k"],
        "ids": "ids" in meta["columns"],
        "coverage": starting / tokens if tokens else None,
        "texts": sum(len(shard.columns["keys"]) for shard in shards),
        "columns": ["values", *meta["columns"]],
        "dtype": meta["dtype"],
        "max_length": meta["max_length"],
        "vocabulary": meta["vocabulary"],
        "format": meta["format"],
        "checkpoint": meta["checkpoint"],
    }
