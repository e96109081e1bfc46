"""Files are whole or absent: crashes, full disks, locks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gldfusion.errors import InputError
from gldfusion.files import atomic_dir, atomic_write, hash_json, lock, remove_leftovers, require_file, write_json
from gldfusion.hashes import hash_checkpoint


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with atomic_write(path) as file:
        file.write(b"old")

    def interrupted() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from gldfusion.files import atomic_write
with atomic_write(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
WRITES_OFTEN = """
import sys
from pathlib import Path
from gldfusion.files import atomic_write
for number in range(150):
    with atomic_write(Path(sys.argv[1]), "w") as file:
        file.write(f"{sys.argv[2]} {number}")
"""


def test_the_file_of_a_killed_writer_is_deleted_by_the_next(tmp_path: Path) -> None:
    """But not that of a writer that is still at work, nor that of another path."""
    path = tmp_path / "out[1].json"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], check=False)
    assert len(os.listdir(tmp_path)) == 1  # the second deleted what the first left
    other = tmp_path / ".out[1].jso.abcdefgh.part"
    other.touch()
    with atomic_write(path) as slow:
        with atomic_write(path) as quick:
            quick.write(b"quick")
        slow.write(b"slow")
    assert path.read_bytes() == b"slow"
    assert sorted(os.listdir(tmp_path)) == [other.name, path.name]


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """None takes the file of another for an abandoned one."""
    path = tmp_path / "file"
    writers = [subprocess.Popen([sys.executable, "-c", WRITES_OFTEN, str(path), str(i)]) for i in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_text().endswith(" 149")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "folder"

    def broken() -> None:
        with atomic_dir(path) as folder:
            (folder / "a").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert os.listdir(tmp_path) == []
    with atomic_dir(path) as folder:
        (folder / "a").touch()
        assert not path.exists()
    assert os.listdir(path) == ["a"]
    with pytest.raises(InputError, match="will not overwrite"), atomic_dir(path):
        pass


def test_a_disk_that_fills_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "file", "old")

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "file", "new")
    with pytest.raises(OSError, match="No space left"), atomic_dir(tmp_path / "folder") as folder:
        write_json(folder / "inner", 1)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == '"old"\n'


def test_a_full_disk_is_one_kind_of_error_whichever_library_writes(
    tmp_path: Path, room: Callable[[int | None], None]
) -> None:
    numbers = torch.zeros(5000)
    writers = (
        lambda folder: (folder / "plain").write_bytes(bytes(20000)),
        lambda folder: save_file({"x": numbers}, folder / "x.safetensors"),
        lambda folder: torch.save(numbers, folder / "x.bin"),
    )
    for write in writers:
        room(4096)
        with pytest.raises(OSError, match=r"File too large|No space left"), atomic_dir(tmp_path / "folder") as folder:
            write(folder)
        room(None)
        assert os.listdir(tmp_path) == []


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    for error in (PermissionError(errno.EACCES, "no"), RuntimeError("bug")):
        with pytest.raises(type(error)) as caught, atomic_write(tmp_path / "file"):
            raise error
        assert caught.value is error


HOLD = """
import sys
from pathlib import Path
from gldfusion.files import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_lives_as_long_as_its_process(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"in use by process {other.pid} \(lock "), lock(path):
            pass
        other.send_signal(signal.SIGKILL)
    with lock(path), pytest.raises(InputError, match=f"in use by process {os.getpid()}"), lock(path):
        pass
    with lock(path):
        pass


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = ["out", ".out.lock", ".out.state", ".out.b.abcdefgh.part", ".other.abcdefgh.part", ".out.abcdefghi.part"]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / ".out.abcd_e12.part").touch()
    (tmp_path / ".out.abcdefgh.part").mkdir()
    (tmp_path / ".out.abcdefgh.part" / "weights").touch()
    remove_leftovers(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_what_a_killed_writer_leaves_has_a_name_that_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gldfusion.files.remove", lambda path: None)  # as if killed before it could clean up
    with pytest.raises(ZeroDivisionError), atomic_dir(tmp_path / "out"):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "out"):
        raise ZeroDivisionError
    assert len(os.listdir(tmp_path)) == 2
    monkeypatch.undo()
    remove_leftovers(tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("model.safetensors", True),
        ("model-00001-of-00002.safetensors", True),
        ("config.json", True),
        ("generation_config.json", True),
        ("tokenizer.json", True),
        ("chat_template.jinja", True),
        ("additional_chat_templates/tools.jinja", True),
        ("merges.txt", True),
        ("README.md", False),
        ("fusion.json", False),
        ("training_log.jsonl", False),
    ],
)
def test_what_names_a_checkpoint(tmp_path: Path, name: str, counts: bool) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = hash_checkpoint(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("changed")
    assert (hash_checkpoint(tmp_path) != before) is counts


def test_hashes_of_json_do_not_depend_on_order_or_path_types() -> None:
    assert hash_json({"a": (1, 2), "b": Path("x")}) == hash_json({"b": "x", "a": [1, 2]})
    assert hash_json({"a": 1}) != hash_json({"a": 2})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"recipe not found: expected a file at .*nowhere\nlook again"):
        require_file(tmp_path / "nowhere", "recipe", "look again")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder, got a file"), lock(tmp_path / "file" / ".lock"):
        pass


def test_half_a_surrogate_pair_has_a_hash_of_its_own() -> None:
    assert len({hash_json(["\ud800"]), hash_json(["\udfff"]), hash_json(["?"])}) == 3
