"""Hashes of checkpoints. Those of large files are remembered, so that all processes and runs read each file once."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from gldfusion.files import atomic_write, hash_file, hash_json, user_cache

LARGE = 64 << 20
"""bytes from which on the hash of a file is remembered"""
SETTLED = 2.0
"""Seconds. A file that was changed more recently could change again without a new time stamp, so its hash is not
remembered"""

# All files that change the output of a checkpoint. Notes such as README.md and fusion.json are left out.
MODEL_FILES = (
    *("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model*.bin.index.json"),
    *("config.json", "generation_config.json", "*.py"),
)
TOKENIZER_FILES = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model", "tekken.json"),
    *("chat_template*", "additional_chat_templates/*"),
)


def hash_parts(path: Path) -> dict[str, str]:
    """Hashes the files that determine the output of a checkpoint. Large files are read once; see `remembered_hash`.

    Returns:
        SHA-256 (hex) over the names and contents of all these files ("checkpoint"), of weights and configuration only
        ("model"), and of tokenizer and chat template only ("tokenizer").
    """
    parts = {
        name: sorted({file for pattern in patterns for file in path.glob(pattern) if file.is_file()})
        for name, patterns in (("model", MODEL_FILES), ("tokenizer", TOKENIZER_FILES))
    }
    parts["checkpoint"] = sorted({*parts["model"], *parts["tokenizer"]})
    hashes = {file: remembered_hash(file) for file in parts["checkpoint"]}
    return {
        name: hash_json([(file.relative_to(path).as_posix(), hashes[file]) for file in files])
        for name, files in parts.items()
    }


def hash_checkpoint(path: Path) -> str:
    """SHA-256 (hex) over the names and contents of all files that determine the output of a checkpoint."""
    return hash_parts(path)["checkpoint"]


def hash_tokenizer(path: Path) -> str:
    """SHA-256 (hex) over the names and contents of all files of a checkpoint that determine token ids.

    Besides the files of the tokenizer these are the configuration, which can name its class, and code.
    """
    patterns = (*TOKENIZER_FILES, "config.json", "*.py")
    files = sorted({file for pattern in patterns for file in path.glob(pattern) if file.is_file()})
    return hash_json([(file.relative_to(path).as_posix(), hash_file(file)) for file in files])


def remembered_hash(path: Path) -> str:
    """SHA-256 (hex) of a file, as `files.hash_file`. The hash of a large file is remembered in the user's cache.

    A remembered hash counts only if the file has the same size, place on the disk and times of change as when it was
    read. Several processes that ask at once wait for the one that reads the file. If the cache cannot be written, the
    file is read every time.
    """
    if path.stat().st_size < LARGE:
        return hash_file(path)
    note = user_cache("hashes") / f"{hash_json(os.path.realpath(path))[:32]}.json"
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        file = note.with_suffix(".lock").open("a")
    except OSError:  # the cache only saves time
        return hash_file(path)
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = _state(path)
        if (known := _noted(note, before)) is not None:
            return known
        digest = hash_file(path)
        if _state(path) == before and time.time() - max(before[-2:]) / 1e9 > SETTLED:
            _note(note, [before, digest])
        return digest


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _note(note: Path, entry: list[Any]) -> None:
    try:
        with atomic_write(note, "w") as file:
            json.dump({"entry": entry, "check": hash_json(entry)}, file)
    except OSError:  # as in `remembered_hash`: the disk is full
        return


def _noted(note: Path, state: list[int]) -> str | None:
    """The remembered hash; None if there is none for this state of the file, or if the note is damaged."""
    try:
        held = json.loads(note.read_bytes())
        known, digest = held["entry"]
        sound = held["check"] == hash_json(held["entry"]) and isinstance(digest, str)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if sound and known == state else None
