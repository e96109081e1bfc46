"""Shard files. A shard is complete or absent, its name holds its checksum, and it is read through a memory map."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from gldfusion.errors import InputError
from gldfusion.files import atomic_write, hash_file
from gldfusion.manifest import change_manifest
from gldfusion.reading import parse_json

TYPES = {"U8": np.uint8, "U32": np.uint32, "F16": np.float16, "F32": np.float32}
"""the types of columns, by their names in safetensors"""
ALWAYS = ("keys", "positions", "bytes", "top", "gaps", "starts")
"""columns that every shard has"""
MEND = "delete this file and run `gldbench cache build RECIPE` again: only its texts are run"


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard. Its columns are views of the mapped file, so data is read from disk when it is used."""

    path: Path
    columns: dict[str, NDArray]


def shard_paths(cache: Path) -> list[Path]:
    """The shards of a cache, in the order of their names."""
    return sorted(cache.glob("shard-*.safetensors"))


def write_shard(cache: Path, columns: Mapping[str, NDArray]) -> Path:
    """Writes a shard, lists it in the manifest of its cache, and returns its path. Equal content has one path."""
    content = save({name: np.ascontiguousarray(column) for name, column in columns.items()})
    path = cache / f"shard-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    with atomic_write(path) as file:
        file.write(content)
    change_manifest(cache, [path.name])
    return path


def open_shard(path: Path, meta: Mapping[str, Any]) -> Shard:
    """Maps a shard and checks that it belongs to its cache. It does not check the checksum.

    Args:
        path: the shard.
        meta: meta.json of the cache.

    Raises:
        InputError: the file is not a shard, or it is one of another cache.
    """
    try:
        raw = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        size = int(raw[:8].view("<u8")[0])
        header = parse_json(raw[8 : 8 + size].tobytes(), "its header", MEND)
        body = raw[8 + size :]
        columns = {name: _column(body, entry) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is not a shard ({' '.join(str(error).split())})\n{MEND}") from None
    expected = {*ALWAYS, *meta["columns"]}
    if set(columns) != expected or columns["gaps"].shape[1] != meta["k"] - 1:
        kept = f"k = {columns['gaps'].shape[1] + 1}, " if "gaps" in columns else ""
        raise InputError(
            f"{path} is not a shard of this cache: expected k = {meta['k']}, {', '.join(sorted(expected))}; "
            f"it has {kept}{', '.join(sorted(columns))}\nmove it out of the folder"
        )
    return Shard(path, columns)


def _column(body: NDArray[np.uint8], entry: Mapping[str, Any]) -> NDArray:
    """One column as a view of the file."""
    first, last = entry["data_offsets"]
    if last > len(body):
        raise ValueError(f"{last - len(body)} bytes are missing at its end")
    dtype = np.dtype(TYPES[entry["dtype"]])
    if last - first != dtype.itemsize * math.prod(entry["shape"]):
        raise ValueError("a column's size does not fit its shape")
    return body[first:last].view(dtype).reshape(entry["shape"])


def checksum_problem(path: Path) -> str | None:
    """What is wrong with the bytes of a shard; None if their checksum is the one in its name."""
    expected = path.stem.rsplit("-", 1)[-1]
    try:
        found = hash_file(path)[:16]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if found == expected else f"its name says checksum {expected}, but its content has {found}"
