"""Writes files that are complete or absent, and computes the hashes of their content."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gldfusion.errors import InputError


def hash_json(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`. Paths count as strings, and tuples as lists.

    JSON that was read can hold half of a surrogate pair, which UTF-8 has no code for; it counts as WTF-8 writes it.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_file(path: Path, what: str, hint: str) -> Path:
    """Returns `path`.

    Args:
        path: the file.
        what: what the file should be, for the message: "recipe".
        hint: second line of the message: how to mend it.

    Raises:
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(f"{what} not found: expected a file at {path}\n{hint}")
    return path


def _write_error(error: BaseException, path: Path) -> OSError | None:
    """The OSError for a failed write that torch or safetensors report by another exception; None for other errors."""
    text = str(error)
    if number := re.search(r"\(os error (\d+)\)", text):  # safetensors
        return OSError(int(number[1]), os.strerror(int(number[1])), str(path))
    if "inline_container" in text and isinstance(error, RuntimeError):  # torch.save does not report the error number
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return None


@contextmanager
def whole_or_absent(temporary: Path, path: Path) -> Iterator[None]:
    """Removes `temporary`, which the block writes and renames to `path`, if the block fails.

    Raises:
        OSError: a write failed, for example because the disk is full. Errors of torch and safetensors are converted.
    """
    try:
        yield
    except BaseException as error:
        remove(temporary)
        if (write_error := _write_error(error, path)) is not None:
            raise write_error from error
        raise


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path`, and renames it to `path` if the block succeeds.

    A process that is killed meanwhile leaves its temporary file. The next one that writes `path` deletes that file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    handle, name = _temporary(path)
    try:
        with whole_or_absent(Path(name), path):
            with os.fdopen(os.dup(handle), mode) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
    finally:
        os.close(handle)  # ends the lock, after the renaming


def _temporary(path: Path) -> tuple[int, str]:
    """Makes a temporary file for `path` that is locked as long as its descriptor is open: descriptor and name."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        if _locks(handle) and os.path.exists(name):
            return handle, name
        os.close(handle)  # another process took it for an abandoned one before it was locked


def _remove_abandoned(path: Path) -> None:
    """Deletes the temporary files of `path` that no process writes any more: the system ended their locks."""
    for entry in list(path.parent.glob(f".{glob.escape(path.name)}.*.part")):
        if (match := _UNFINISHED.fullmatch(entry.name)) and match[1] == path.name and entry.is_file():
            with suppress(FileNotFoundError, PermissionError), entry.open("rb") as file:
                if _locks(file.fileno()):
                    entry.unlink()


def _locks(handle: int) -> bool:
    """Locks an open file; False if another process holds its lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yields an empty temporary folder beside `path`, and renames it to `path` if the block succeeds.

    Raises:
        InputError: `path` exists. It is never replaced.
        OSError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise InputError(f"will not overwrite {path}: it is already there\nmove it away or choose another output")
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    with whole_or_absent(temporary, path):
        yield temporary
        os.chmod(temporary, 0o755)
        os.rename(temporary, path)


def remove(path: Path) -> None:
    """Deletes a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


_UNFINISHED = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.part")
"""the names that `tempfile` gives"""


def remove_leftovers(path: Path) -> None:
    """Deletes what killed processes left of unfinished writes of `path`. The caller must hold the lock of `path`."""
    _remove_unfinished(path.parent, path.name)


def remove_all_leftovers(folder: Path) -> None:
    """Deletes what killed processes left unfinished in a folder. No other process may be writing into it."""
    _remove_unfinished(folder, None)


def _remove_unfinished(folder: Path, name: str | None) -> None:
    for entry in list(folder.iterdir()) if folder.is_dir() else []:
        if (match := _UNFINISHED.fullmatch(entry.name)) and name in (None, match[1]):
            remove(entry)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False, default=str)
        file.write("\n")


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock. The system releases it when the process ends.

    Raises:
        InputError: another process holds the lock, or the folder of `path` is a file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"expected a folder, got a file: {path.parent}\ngive another folder") from None
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


def user_cache(kind: str) -> Path:
    """A folder for what can be made again: below $GLDFUSION_CACHE, or else below `gldfusion` in the user's cache.

    Args:
        kind: its name: "vocabulary-maps".
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GLDFUSION_CACHE") or Path(home) / "gldfusion") / kind


def require_user_cache(kind: str, what: str) -> Path:
    """Checks that files can be written to a folder of the user's cache, and returns it.

    Args:
        kind: see `user_cache`.
        what: what is written there, for the message: "vocabulary maps".

    Raises:
        InputError: the folder cannot be made, or no file can be written to it.
    """
    folder = user_cache(kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"cannot save {what} in {folder}: {error.strerror}\nset GLDFUSION_CACHE to a folder in which you may write"
        ) from None
    return folder
