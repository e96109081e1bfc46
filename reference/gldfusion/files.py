"""Files that are either whole or absent, and the hashes that name their content."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gldfusion.errors import InputError


def hash_json(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`; paths and tuples count as strings and lists."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_file(path: Path, what: str, hint: str) -> Path:
    """`path`, or an InputError that says which file was expected, where, and how to get it."""
    if not path.is_file():
        raise InputError(f"{what} not found: expected a file at {path}\n{hint}")
    return path


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path`; renames it into place only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yields an empty temporary folder beside `path`; renames it into place only if the block succeeds.

    `path` must not exist: nothing that is there is ever replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise InputError(f"will not overwrite {path}: it is already there\nmove it away or choose another output")
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False, default=str)
        file.write("\n")


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock that dies with its process; a lock held by a live process is an InputError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise InputError(
                f"{path.parent} is in use by {owner} (lock {path})\nwait for it to end, or stop it, then try again"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
