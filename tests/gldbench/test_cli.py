"""The command line: lists as text and JSON, and mistakes that end with one to three lines and exit code 2."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import pickle
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gldbench import cli
from gldfusion.errors import InputError
from gldfusion.losses import LOSSES

MINI = Path(__file__).parent / "mini.yaml"


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Standard error of a call that must end with exit code 2 and one to three lines."""
    monkeypatch.setattr("sys.argv", ["gldbench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert 1 <= len(captured.err.strip().splitlines()) <= 3, captured.err
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "tinny"], 'did you mean "tiny"'),
        (["run", "missing.yaml"], "spec not found"),
        (["report", "nowhere"], "not found"),
        (["fuse", "missing.yaml", "--output", "out"], "recipe not found"),
        (["eval", "nowhere", "--tasks", "gsm8k", "--data", ".", "--output", "out"], "not a checkpoint"),
        (["tasks", "show", "gsm9k"], 'did you mean "gsm8k"'),
    ],
)
def test_mistakes_end_in_a_few_lines_and_code_2(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in fails(arguments, capsys, monkeypatch)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_told_with_its_owner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("a+") as held:
        held.write("process 4711")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        message = fails(["run", str(MINI), "--output", str(tmp_path / "run")], capsys, monkeypatch)
    assert "in use by process 4711" in message
    assert not (tmp_path / "run" / "spec.yaml").exists()


def test_a_full_disk_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = fails(["run", str(MINI), "--output", str(tmp_path / "run")], capsys, monkeypatch)
    assert "No space left on device" in message
    assert not list((tmp_path / "run").glob("*.part")) + list((tmp_path / "run").glob("*.json"))


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError(errno.EIO, "a fault that is not the user's")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(OSError, match="not the user's"):
        cli.main()


def test_an_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gldbench.doctor.examine", interrupted)
    monkeypatch.setattr("sys.argv", ["gldbench", "doctor"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert "interrupted" in capsys.readouterr().err


def test_doctor_and_tasks_speak_json(capsys: pytest.CaptureFixture[str]) -> None:
    cases = ((["doctor", "--json"], {"name", "status", "found"}), (["tasks", "list", "--json"], {"name"}))
    for arguments, keys in cases:
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 0
        assert all(keys <= set(entry) for entry in json.loads(result.output))


def test_losses_are_listed_with_formula_source_and_options() -> None:
    document = CliRunner().invoke(cli.app, ["losses", "--json"])
    assert document.exit_code == 0
    found = {loss["name"]: loss for loss in json.loads(document.output)}
    assert list(found) == list(LOSSES)
    for name, loss in found.items():
        assert loss["summary"], name
        assert (loss["formula"], loss["source"]) == (LOSSES[name].formula, LOSSES[name].citation)
        options = [field.name for field in dataclasses.fields(LOSSES[name])]  # pyright: ignore[reportArgumentType]
        assert [option["name"] for option in loss["options"]] == options
        assert all(option["type"] and option["meaning"] for option in loss["options"]), name
    text = CliRunner().invoke(cli.app, ["losses"]).output
    assert all(f"\n{name}\n" in text for name in LOSSES)
    assert max(map(len, text.splitlines())) <= 100


def test_an_input_error_pickles() -> None:
    """Workers raise them, the parent prints them."""
    assert str(pickle.loads(pickle.dumps(InputError("what\nhow")))) == "what\nhow"
