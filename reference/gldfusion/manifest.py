"""Manifests: `manifest.json` in a folder lists the size and the SHA-256 of its files, so that damage is noticed.

A manifest is written last, after all files are on the disk. A folder whose manifest holds is therefore complete.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gldfusion.errors import InputError
from gldfusion.files import atomic_dir, hash_file, write_json

MANIFEST = "manifest.json"
_VERSION = 1


def write_manifest(folder: Path, names: Iterable[str] | None = None) -> Path:
    """Writes the manifest of a folder, after it flushed every listed file to the disk.

    Args:
        folder: the folder.
        names: paths of the files below the folder, with "/". None lists all files of the folder and its subfolders,
            except hidden ones (locks, temporary files).

    Returns:
        The path of the manifest.
    """
    listed = sorted(_visible(folder) if names is None else names)
    entries = {name: _entry(folder / name) for name in listed}
    for inner in {folder, *((folder / name).parent for name in listed)}:
        flush(inner)
    write_json(folder / MANIFEST, {"manifest": _VERSION, "files": entries})
    flush(folder)
    return folder / MANIFEST


def change_manifest(folder: Path, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """Adds files to the manifest of a folder, or removes them. Several processes may do so at once.

    A manifest is made if there is none. A file that is listed already is read again.

    Args:
        folder: the folder.
        add: paths below the folder of files that were written.
        remove: paths below the folder of files that are gone. Names that are not listed are ignored.

    Raises:
        InputError: the manifest is damaged.
    """
    added, removed = list(add), list(remove)
    if not added and not removed:
        return
    with (folder / ".manifest.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        exists = (folder / MANIFEST).exists()
        entries = dict(read_manifest(folder, "manifest of", "delete this file")) if exists else {}
        for name in added:
            entries[name] = _entry(folder / name)
        for name in removed:
            entries.pop(name, None)
        write_json(folder / MANIFEST, {"manifest": _VERSION, "files": dict(sorted(entries.items()))})
        flush(folder)


def read_manifest(folder: Path, what: str, mend: str) -> Mapping[str, tuple[int, str]]:
    """Reads the manifest of a folder.

    Args:
        folder: the folder.
        what: what the folder should be, for the message: "fused checkpoint".
        mend: last line of the message: how to mend it.

    Returns:
        path below the folder -> (size in bytes, SHA-256 in hex).

    Raises:
        InputError: there is no manifest, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        document: Any = json.loads(path.read_bytes())
        entries = {name: (entry[0], entry[1]) for name, entry in document["files"].items()}
        if document["manifest"] != _VERSION or not all(_sound(name, *entry) for name, entry in entries.items()):
            raise ValueError("it has another form")
    except OSError as error:
        raise InputError(f"{what} {folder} cannot be checked: {path.name}: {error.strerror}\n{mend}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise InputError(f"{path} is damaged: it is not the list of files that was written\n{mend}") from None
    return entries


def verify_manifest(folder: Path, what: str, mend: str, names: Iterable[str] | None = None) -> None:
    """Reads every byte of the listed files of a folder, and compares them with its manifest.

    Files that are not listed are not looked at, so a user may add notes to a folder.

    Args:
        folder: the folder.
        what: what the folder should be, for the message: "fused checkpoint".
        mend: last line of the message: how to mend it.
        names: check these files only. Each must be listed. None checks all listed files.

    Raises:
        InputError: there is no manifest, it is damaged, or a file is missing or damaged. The message names the file.
    """
    entries = read_manifest(folder, what, mend)
    for name in entries if names is None else names:
        if name not in entries:
            raise InputError(f"{folder / MANIFEST} does not list {name}, which {what} must hold\n{mend}")
        if problem := file_problem(folder / name, *entries[name]):
            raise InputError(f"{folder / name} is damaged: {problem}\n{mend}")


def file_problem(path: Path, size: int, sha256: str) -> str | None:
    """Says how a file differs from its entry in a manifest; None if it does not."""
    try:
        if not path.is_file():
            return f"expected a file of {size} bytes, found none"
        if (found := path.stat().st_size) != size:
            return f"expected {size} bytes, found {found}"
        if (digest := hash_file(path)) != sha256:
            return f"expected the checksum {sha256[:16]}, found {digest[:16]}"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None


@contextmanager
def sealed_dir(path: Path) -> Iterator[Path]:
    """As `files.atomic_dir`, and the folder gets a manifest of all its files before it is renamed to `path`.

    Raises:
        InputError: `path` exists. It is never replaced.
        OSError: the disk is full.
    """
    with atomic_dir(path) as folder:
        yield folder
        write_manifest(folder)
    flush(path.parent)


def flush(path: Path) -> None:
    """Waits until the disk holds the content of a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _visible(folder: Path) -> list[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [p.as_posix() for p in paths if p.name != MANIFEST and not any(part.startswith(".") for part in p.parts)]


def _entry(path: Path) -> tuple[int, str]:
    flush(path)
    return path.stat().st_size, hash_file(path)


def _sound(name: Any, size: Any, sha256: Any) -> bool:
    """Whether an entry has the right types and names a file inside the folder."""
    inside = not name.startswith("/") and ".." not in name.split("/") and "\0" not in name
    return inside and isinstance(size, int) and isinstance(sha256, str)
