"""Manifests name every kind of damage to a folder."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gldfusion.errors import InputError
from gldfusion.manifest import MANIFEST, change_manifest, read_manifest, sealed_dir, verify_manifest

MEND = "delete the folder"


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    with sealed_dir(tmp_path / "folder") as folder:
        (folder / "weights").write_bytes(bytes(range(256)) * 8)
        (folder / "inner").mkdir()
        (folder / "inner" / "note.txt").write_text("text")
        (folder / ".lock").touch()
    return tmp_path / "folder"


def test_a_sealed_folder_lists_all_files_but_hidden_ones_and_verifies(sealed: Path) -> None:
    assert set(read_manifest(sealed, "folder", MEND)) == {"weights", "inner/note.txt"}
    verify_manifest(sealed, "folder", MEND)


def test_a_file_that_the_user_adds_is_no_damage(sealed: Path) -> None:
    (sealed / "README.md").write_text("mine")
    verify_manifest(sealed, "folder", MEND)


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_a_file_is_found_and_the_file_named(sealed: Path, seed: int) -> None:
    content = bytearray((sealed / "weights").read_bytes())
    bit = random.Random(seed).randrange(len(content) * 8)
    content[bit // 8] ^= 1 << bit % 8
    (sealed / "weights").write_bytes(content)
    with pytest.raises(InputError, match=r"weights is damaged: expected the checksum(.|\n)*delete the folder"):
        verify_manifest(sealed, "folder", MEND)


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [(Path.unlink, "found none"), (_shorten, "expected 2048 bytes, found 2047"), (_make_folder, "found none")],
)
def test_a_missing_or_shortened_file_is_named(sealed: Path, damage: Callable[[Path], None], problem: str) -> None:
    damage(sealed / "weights")
    with pytest.raises(InputError, match=f"weights is damaged: .*{problem}"):
        verify_manifest(sealed, "folder", MEND)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff\xfe", b"[]", b"{}", b"[" * 100_000, b'{"manifest": 1, "files": []}'),
        *(b'{"manifest": 1, "files": {"a": 3}}', b'{"manifest": 1, "files": {"../a": [1, "x"]}}'),
    ],
)
def test_a_damaged_manifest_is_named(sealed: Path, content: bytes) -> None:
    (sealed / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match=r"manifest.json is damaged"):
        verify_manifest(sealed, "folder", MEND)


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_in_the_manifest_is_found_unless_it_still_says_the_same(sealed: Path, seed: int) -> None:
    before = json.loads((sealed / MANIFEST).read_bytes())
    content = bytearray((sealed / MANIFEST).read_bytes())
    bit = random.Random(seed).randrange(len(content) * 8)
    content[bit // 8] ^= 1 << bit % 8
    (sealed / MANIFEST).write_bytes(content)
    try:
        verify_manifest(sealed, "folder", MEND)
    except InputError:
        return
    assert json.loads(content) == before


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be checked: manifest.json: No such file"):
        verify_manifest(tmp_path, "world data", MEND)


def test_files_can_be_added_by_several_threads_and_removed(sealed: Path) -> None:
    names = [f"part-{i}" for i in range(24)]
    for name in names:
        (sealed / name).write_text(name)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: change_manifest(sealed, add=[name]), names))
    assert set(names) < set(read_manifest(sealed, "folder", MEND))
    change_manifest(sealed, remove=["part-3", "never there"])
    assert "part-3" not in read_manifest(sealed, "folder", MEND)
    verify_manifest(sealed, "folder", MEND)


def test_a_file_that_must_be_listed_is_asked_for_by_name(sealed: Path) -> None:
    verify_manifest(sealed, "folder", MEND, names=["weights"])
    with pytest.raises(InputError, match=r"does not list model.safetensors"):
        verify_manifest(sealed, "folder", MEND, names=["model.safetensors"])
