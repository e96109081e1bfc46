"""Compares a cache with its manifest: damage is named for readers, and mended where a builder can run texts again."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gldfusion.cache.shards import checksum_problem, open_shard, shard_paths
from gldfusion.errors import InputError
from gldfusion.files import remove
from gldfusion.manifest import MANIFEST, change_manifest, file_problem, read_manifest

Entries = Mapping[str, tuple[int, str]]

AGAIN = "delete the folder and build it again with `gldbench cache build RECIPE`"
BUILD = "run `gldbench cache build RECIPE`"
RERUN = f"{BUILD}: only the texts of this file are run again"
RELIST = f"{BUILD}: it checks all files and writes the list again"
UNLISTED = f"{BUILD}, which lists this file if it is intact, or move the file out of the folder"
LOOKS, PAUSE = 10, 0.2
"""How often, and after how many seconds, a reader looks again for a shard that a builder may be about to list."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Broken:
    """A file of a cache that cannot be used."""

    path: str
    problem: str
    mend: str
    """what the user can do about it"""


def find_faults(cache: Path) -> tuple[list[Path], list[Broken]]:
    """Reads every byte of a cache and compares it with the manifest. Two threads read.

    Returns:
        The shards that are listed and intact, and the files that are missing, damaged or not listed.
    """
    try:
        entries = read_manifest(cache, "the cache", RELIST)
    except InputError as error:
        return [], [Broken(str(cache / MANIFEST), str(error).split("\n")[0], RELIST)]
    with ThreadPoolExecutor(2) as pool:
        problems = list(pool.map(lambda name: file_problem(cache / name, *entries[name]), entries))
    intact, broken = list[Path](), list[Broken]()
    for name, problem in zip(entries, problems, strict=True):
        if problem:
            broken.append(Broken(str(cache / name), problem, RERUN if _is_shard(name) else AGAIN))
        elif _is_shard(name):
            intact.append(cache / name)
    extra = _unlisted(cache, entries)
    broken += [Broken(str(path), "the manifest does not list it", UNLISTED) for path in extra]
    return intact, broken


def sound_shards(cache: Path) -> list[Path]:
    """The shards of a cache, after every byte of it was compared with the manifest.

    Raises:
        InputError: a file is missing, damaged or not listed. The message names the first such file and the repair.
    """
    intact, broken = find_faults(cache)
    if broken:
        more = f" ({len(broken) - 1} more files: `gldbench cache verify {cache}`)" if len(broken) > 1 else ""
        raise InputError(f"{broken[0].path} cannot be used: {broken[0].problem}{more}\n{broken[0].mend}")
    return intact


def mend(cache: Path, meta: Mapping[str, Any]) -> bool:
    """Deletes damaged shards, and lists intact ones that are not listed, so that a builder can run what is missing.

    The caller must hold the builders' lock. Other builders may be at work. A warning names every file.

    Args:
        cache: folder of the cache.
        meta: its meta.json.

    Returns:
        Whether there was a usable manifest. If not, one is made, and meta.json and tokenizer.zip are not checked.

    Raises:
        InputError: meta.json or tokenizer.zip is damaged, or a file is a shard of another cache.
    """
    known = True
    entries: Entries
    try:
        entries = read_manifest(cache, "the cache", RELIST)
    except InputError as error:
        _log.warning("warning: %s; the list is written again", str(error).split("\n")[0])
        known, entries = False, {}
        remove(cache / MANIFEST)
    for name, (size, sha256) in entries.items():
        if not _is_shard(name) and (problem := file_problem(cache / name, size, sha256)):
            raise InputError(f"{cache / name} is damaged: {problem}\n{AGAIN}")
    present = {path.name: path for path in shard_paths(cache)}
    gone = [name for name in entries if _is_shard(name) and name not in present]
    for name in gone:
        _log.warning("warning: %s is missing: its texts are run again", cache / name)
    for path in _damaged(present.values(), entries):
        _log.warning("warning: %s is damaged and was deleted: its texts are run again", path)
        path.unlink(missing_ok=True)
        gone.append(present.pop(path.name).name)
    for path in present.values():
        open_shard(path, meta)
    own = [] if known else [name for name in ("meta.json", "tokenizer.zip") if (cache / name).exists()]
    change_manifest(cache, [*own, *(name for name in present if name not in entries)], gone)
    return known


def _damaged(paths: Any, entries: Entries) -> list[Path]:
    """The shards whose content is not the listed one or, if they are not listed, not that of their name."""
    listed = list(paths)

    def damaged(path: Path) -> bool:
        entry = entries.get(path.name)
        return bool(file_problem(path, *entry) if entry else checksum_problem(path))

    with ThreadPoolExecutor(2) as pool:
        return [path for path, bad in zip(listed, pool.map(damaged, listed), strict=True) if bad]


def _is_shard(name: str) -> bool:
    return name.startswith("shard-")


def _unlisted(cache: Path, entries: Entries) -> list[Path]:
    """The shards that the manifest does not list. A builder writes a shard a moment before it lists it."""
    extra: list[Path] = []
    for _ in range(LOOKS):
        extra = [path for path in shard_paths(cache) if path.name not in entries]
        if not extra:
            break
        time.sleep(PAUSE)
        entries = read_manifest(cache, "the cache", RELIST)
    return extra
