"""`gldbench check`: every guard passes on its own baseline, and a planted change in what it guards is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gldbench.commands.check import check
from gldbench.grade import judges
from gldbench.grade.judges import JUDGES, Judge
from gldbench.guards import GUARDS, baselines_folder
from gldbench.guards.baseline import CheckResult, Move, Values, check_values
from gldbench.guards.values import grader_values, kernel_values, loss_values
from gldfusion.errors import InputError
from gldfusion.losses import LOSSES
from gldfusion.losses.uld import Uld


@pytest.mark.parametrize("values", [loss_values, kernel_values, grader_values])
def test_a_clean_run_is_not_flagged(values: Callable[[], Values], tmp_path: Path) -> None:
    baseline = tmp_path / "values.json"
    assert check_values(values(), baseline, True, 1e-12).passed
    again = check_values(values(), baseline, False, 1e-12)
    assert again.passed
    assert again.compared > 10


def test_the_guard_of_losses_covers_every_loss() -> None:
    assert set(LOSSES) <= set(loss_values())


def test_a_loss_that_changes_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = tmp_path / "losses.json"
    GUARDS["losses"](baseline, True)
    right = Uld.__call__
    monkeypatch.setattr(Uld, "__call__", lambda *arguments: right(*arguments) * (1 + 1e-7))
    moved = GUARDS["losses"](baseline, False)
    assert {move.case for move in moved.moves} == {"uld", "uld_topk"}  # one is made of the other


def test_a_grader_that_changes_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = tmp_path / "graders.json"
    GUARDS["graders"](baseline, True)
    first_letter = Judge(
        lambda task, items, outputs: [
            [judges.Mark("answer", "accuracy", float(out[:1] == item.target), True)]
            for item, out in zip(items, outputs, strict=True)
        ],
    )
    monkeypatch.setitem(JUDGES, "choice", first_letter)
    assert {move.case for move in GUARDS["graders"](baseline, False).moves} == {"arc_c"}


def test_new_and_vanished_values_are_told(tmp_path: Path) -> None:
    baseline = tmp_path / "values.json"
    check_values({"a": {"x": 1.0, "y": 2.0}}, baseline, True, 0)
    result = check_values({"a": {"x": 1.0, "z": 3.0}}, baseline, False, 0)
    assert [(move.subject, move.what) for move in result.moves] == [("y", "value")]
    assert [(move.subject, move.what) for move in result.new] == [("z", "new")]
    assert "–" in result.moves[0].cells()
    assert check_values({"a": {"x": 1.0, "y": 2.0, "z": 3.0}}, baseline, False, 0).passed


def test_no_baseline_and_a_bad_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--update"):
        check_values({}, tmp_path / "none.json", False, 0)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        check_values({}, tmp_path / "bad.json", False, 0)


def test_the_command_runs_every_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move = Move("case", "loss", "value", 1.0, 2.0, "")
    monkeypatch.setitem(GUARDS, "gw", lambda baseline, update: CheckResult((), 3, ()))
    app = typer.Typer()
    app.command()(check)
    run = CliRunner()
    folder = ["--baselines", str(tmp_path)]
    assert run.invoke(app, [*folder, "--update"]).exit_code == 0
    done = run.invoke(app, [*folder, "--json"])
    assert done.exit_code == 0
    assert set(json.loads(done.stdout)) == set(GUARDS)
    monkeypatch.setitem(GUARDS, "gw", lambda baseline, update: CheckResult((move,), 3, ()))
    failed = run.invoke(app, folder)
    assert failed.exit_code == 1
    assert "1 of 3 numbers moved" in failed.stdout


def test_the_committed_baselines_are_of_this_code() -> None:
    for name in ("losses", "kernels", "graders"):
        result = GUARDS[name](baselines_folder() / f"{name}.json", False)
        assert result.passed, result.moves
