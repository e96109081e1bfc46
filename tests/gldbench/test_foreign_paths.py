"""A path that does not exist, or that holds something else, ends every command in exit code 2 and three lines."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gldbench import cli


def _absent(path: Path) -> None:
    """Nothing lies at the path."""


def _empty(path: Path) -> None:
    path.touch()


def _picture(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xfe" * 40)


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(4096))


def _parquet(path: Path) -> None:
    path.write_bytes(b"PAR1\x15\x04\x15\xff" * 20 + b"PAR1")


def _text(path: Path) -> None:
    path.write_text("Dear reader,\n\tthis is a letter: it is no data.\n")


def _deep(path: Path) -> None:
    path.write_text("[" * 50_000)


def _list(path: Path) -> None:
    path.write_text("[1, 2, 3]")


def _array(path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array(["text"]))
    path.write_bytes(buffer.getvalue())


def _folder(path: Path) -> None:
    path.mkdir()


def _full_folder(path: Path) -> None:
    path.mkdir()
    for name in ("config.json", "meta.json", "spec.yaml", "environment.json", "manifest.json", "task.yaml"):
        (path / name).write_bytes(b"\xff\xfe{")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


FOREIGN: tuple[Callable[[Path], None], ...] = (
    *(_absent, _empty, _picture, _zeros, _parquet, _text, _deep, _list, _array, _folder, _full_folder, _pipe, _loop),
)
TASK = ("--data", "DATA")
VERBS: dict[str, tuple[str, ...]] = {
    "run": ("run", "PATH", "--output", "OUT"),
    "report": ("report", "PATH"),
    "fuse": ("fuse", "PATH", "--output", "OUT"),
    "cache build": ("cache", "build", "PATH"),
    "cache verify": ("cache", "verify", "PATH"),
    "cache stat": ("cache", "stat", "PATH"),
    "eval, checkpoint": ("eval", "PATH", "--tasks", "gsm8k", *TASK, "--output", "OUT"),
    "score, responses": ("score", "gsm8k", "PATH", *TASK),
    "score, lm-eval": ("score", "gsm8k", "PATH", *TASK, "--format", "lm-eval"),
    "run, models of a table": ("run", "table3", *TASK, "--models", "phi4_14b=PATH", "--output", "OUT"),
    "run, data of a table": ("run", "table3", "--data", "PATH", "--models", "phi4_14b=PATH", "--output", "OUT"),
    "run, substitute": ("run", "table3", *TASK, "--substitute", "PATH", "--output", "OUT"),
    "export": ("export", "PATH", "--to", "csv", "OUT"),
    "score, data": ("score", "gsm8k", "RESPONSES", "--data", "PATH"),
    "items": ("items", "PATH"),
    "compare, first": ("compare", "PATH", "PATH"),
    "tasks new": ("tasks", "new", "PATH", "--into", "OUT"),
    "tasks list, own tasks": ("tasks", "list", "--tasks-dir", "PATH"),
    "selftest cases": ("selftest", "cases", "PATH", *TASK),
    "selftest cases, data": ("selftest", "cases", "CASES", "--data", "PATH"),
    "gw solve": ("gw", "solve", "PATH", "PATH"),
    "gw bench": ("gw", "bench", "PATH", "--output", "OUT"),
    "gw bench, pivot": ("gw", "bench", "--preset", "quick", "--pivot", "PATH", "--source", "PATH", "--output", "OUT"),
    "gw bench, run": ("gw", "bench", "--preset", "quick", "--run", "PATH", "--output", "OUT"),
    "gw check": ("gw", "check", "--baseline", "PATH"),
}
ACCEPTED = {("tasks list, own tasks", "_folder")}
"""a folder without tasks is a folder of no tasks"""


def command(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Runs the command line in this process; returns the exit code and standard error."""
    monkeypatch.setattr(sys, "argv", ["gldbench", *arguments])
    monkeypatch.delenv("GLDBENCH_TASKS", raising=False)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    os.environ.pop("GLDBENCH_TASKS", None)
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """What the words in capitals of VERBS stand for."""
    (tmp_path / "responses.jsonl").write_text('{"item_id": "0", "output": ""}\n')
    case = '{"task": "gsm8k", "item_id": "0", "output": "", "expect": 0, "kind": "x"}\n'
    (tmp_path / "cases.jsonl").write_text(case)
    (tmp_path / "data").mkdir()
    return {
        "RESPONSES": str(tmp_path / "responses.jsonl"),
        "CASES": str(tmp_path / "cases.jsonl"),
        "DATA": str(tmp_path / "data"),
        "OUT": str(tmp_path / "out"),
    }


@pytest.mark.parametrize("verb", VERBS)
def test_a_foreign_path_ends_in_exit_code_2_and_three_lines(
    verb: str,
    places: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = []
    for make in FOREIGN:
        for name in ("x", "x.yaml") if make is not _folder else ("x",):
            path = tmp_path / name
            make(path)
            arguments = [{**places, "PATH": str(path)}.get(word, word) for word in VERBS[verb]]
            code, errors = command(arguments, monkeypatch, capsys)
            if (verb, make.__name__) not in ACCEPTED and (code != 2 or not 1 <= len(errors.splitlines()) <= 3):
                wrong.append((make.__name__, name, code, errors))
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    assert wrong == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_a_name_of_300_characters_ends_in_exit_code_2_and_three_short_lines(
    verb: str,
    places: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / ("n" * 300)) + ".yaml"
    arguments = [{**places, "PATH": path}.get(word, word) for word in VERBS[verb]]
    code, errors = command(arguments, monkeypatch, capsys)
    assert code == 2, errors
    assert 1 <= len(errors.splitlines()) <= 3
    assert max(map(len, errors.splitlines())) < 1000
