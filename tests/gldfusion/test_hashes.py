"""Hashes of large files are remembered as long as nothing says that the file may have changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from gldfusion import hashes
from gldfusion.files import hash_file
from gldfusion.hashes import hash_tokenizer, remembered_hash

Read = list[Path]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """The files that were read. Every file counts as large and as old enough."""
    found: Read = []

    def noted(path: Path) -> str:
        found.append(path)
        return hash_file(path)

    monkeypatch.setenv("GLDFUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "hash_file", noted)
    monkeypatch.setattr(hashes, "LARGE", 0)
    monkeypatch.setattr(hashes, "SETTLED", -60.0)
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def test_a_large_file_is_read_once_also_under_another_name(weights: Path, read: Read) -> None:
    link = weights.with_name("link")
    link.symlink_to(weights)
    assert {remembered_hash(path) for path in (weights, weights, link)} == {hash_file(weights)}
    assert read == [weights]


def test_a_small_file_is_read_every_time(weights: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "LARGE", 8)
    assert remembered_hash(weights) == remembered_hash(weights) == hash_file(weights)
    assert len(read) == 2


def test_a_changed_file_is_read_again_though_its_date_was_put_back(weights: Path, read: Read) -> None:
    remembered_hash(weights)
    before = weights.stat()
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert remembered_hash(weights) == hash_file(weights)
    other = weights.with_name("other")
    other.write_bytes(b"another")
    other.replace(weights)
    assert remembered_hash(weights) == hash_file(weights)
    assert len(read) == 3


def test_the_hash_of_a_file_that_was_just_written_is_not_remembered(
    weights: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SETTLED", 3600.0)
    remembered_hash(weights)
    remembered_hash(weights)
    assert len(read) == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    weights: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: Path) -> str:
        digest = hash_file(path)
        weights.write_bytes(b"changed while it was read")
        return digest

    monkeypatch.setattr(hashes, "hash_file", slow)
    remembered_hash(weights)
    monkeypatch.setattr(hashes, "hash_file", hash_file)
    assert remembered_hash(weights) == hash_file(weights)


@pytest.mark.parametrize("damage", ["", "{}", "[1, 2", '{"entry": [[1], "x"], "check": "y"}', None])
def test_a_damaged_note_does_not_count(weights: Path, read: Read, damage: str | None) -> None:
    digest = remembered_hash(weights)
    (note,) = hashes.user_cache("hashes").glob("*.json")
    note.write_text(note.read_text().replace(digest, digest[::-1]) if damage is None else damage)
    assert remembered_hash(weights) == digest
    assert len(read) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(
    weights: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLDFUSION_CACHE", str(weights))
    assert remembered_hash(weights) == remembered_hash(weights) == hash_file(weights)


def test_of_several_at_once_one_reads(weights: Path, read: Read) -> None:
    threads = [Thread(target=remembered_hash, args=(weights,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [weights]


def test_another_process_remembers_too(weights: Path, read: Read) -> None:
    code = (
        "import sys; from pathlib import Path; from gldfusion import hashes; hashes.LARGE = 0; hashes.SETTLED = -60.0; "
    )
    code += "hashes.remembered_hash(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(weights)], check=True, timeout=60)
    remembered_hash(weights)
    assert read == []


def test_a_tokenizer_is_named_by_its_files_and_not_by_the_weights(tmp_path: Path) -> None:
    seen = {hash_tokenizer(tmp_path)}
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "code.py"):
        (tmp_path / name).write_text("x")
        seen.add(hash_tokenizer(tmp_path))
    assert len(seen) == 5
    (tmp_path / "model.safetensors").write_text("x")
    assert hash_tokenizer(tmp_path) in seen
