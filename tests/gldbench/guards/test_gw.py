"""The regression guard: planted errors and slowdowns are caught, clean runs are not flagged; the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gldbench.commands.gw import gw_app
from gldbench.guards import gw as check
from gldbench.gw.problem import Problem
from gldbench.gw.solvers import SOLVERS, Answer
from gldfusion.errors import InputError

RUNNER = CliRunner()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One problem and few solvers, for speed."""
    monkeypatch.setattr(check, "PROBLEMS", (("synthetic-rank-raw", 48),))
    monkeypatch.setattr(check, "GUARDED", ("ggw", "flb", "slb", "sorted", "tlb"))


@pytest.fixture
def baseline(small: None, tmp_path: Path) -> Path:
    path = tmp_path / "gw.json"
    assert check.check_gw(path, update=True).passed
    return path


def plant(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Problem, Answer], Answer]) -> None:
    right = SOLVERS[name].run
    monkeypatch.setitem(SOLVERS, name, replace(SOLVERS[name], run=lambda problem: change(problem, right(problem))))


def test_a_clean_run_is_not_flagged(baseline: Path) -> None:
    result = check.check_gw(baseline, update=False)
    assert result.passed
    assert result.compared == 11


@pytest.mark.slow
def test_ten_clean_runs_in_a_row_are_not_flagged(tmp_path: Path) -> None:
    path = tmp_path / "gw.json"
    check.check_gw(path, update=True)
    for _ in range(10):
        result = check.check_gw(path, update=False)
        assert result.passed, result.moves


def test_a_planted_error_is_caught(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "slb", lambda _, answer: Answer((answer.value or 0) * (1 + 1e-7)))
    result = check.check_gw(baseline, update=False)
    assert [(move.subject, move.what) for move in result.moves] == [("slb", "value")]


def test_a_planted_worse_coupling_is_caught(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "sorted", lambda problem, _: Answer(coupling=np.full((problem.n, problem.m), 1 / problem.n**2)))
    assert ("sorted", "value") in [(move.subject, move.what) for move in check.check_gw(baseline, update=False).moves]


def test_a_planted_slowdown_is_caught(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(problem: Problem, answer: Answer) -> Answer:
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass
        return answer

    plant(monkeypatch, "ggw", wait)
    result = check.check_gw(baseline, update=False)
    assert [(move.subject, move.what) for move in result.moves] == [("ggw", "ratio")]
    move = result.moves[0]
    assert move.before is not None
    assert move.now is not None
    assert move.now > check.SLOWER * move.before


def test_a_slower_reference_is_caught_in_its_own_environment(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(baseline.read_text())
    document["seconds"] = {case: seconds / 100 for case, seconds in document["seconds"].items()}
    baseline.write_text(json.dumps(document))
    assert [move.what for move in check.check_gw(baseline, update=False).moves] == ["seconds"]
    document["environment"]["commit"] = "another"
    baseline.write_text(json.dumps(document))
    result = check.check_gw(baseline, update=False)
    assert result.passed
    assert "seconds are not" in result.notes[0]


def test_another_environment_gets_a_wider_limit_and_a_note(baseline: Path) -> None:
    document = json.loads(baseline.read_text())
    document["environment"]["env_id"] = "elsewhere"
    name = next(iter(document["ratios"]))
    document["ratios"][name] = {solver: ratio / 2 for solver, ratio in document["ratios"][name].items()}
    baseline.write_text(json.dumps(document))
    result = check.check_gw(baseline, update=False)
    assert result.passed
    assert "elsewhere" in result.notes[0]


def test_a_solver_that_is_new_or_gone_is_told(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "GUARDED", ("ggw", "flb", "slb", "sorted", "anova"))
    moved = {(move.subject, move.what) for move in check.check_gw(baseline, update=False).moves}
    assert moved == {("anova", "missing"), ("tlb", "value")}


def test_no_baseline_and_bad_baselines(tmp_path: Path, small: None) -> None:
    with pytest.raises(InputError, match="--update"):
        check.check_gw(tmp_path / "none.json", update=False)
    for text in ("{", "[]", '{"format": 99}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match="no baseline"):
            check.check_gw(tmp_path / "bad.json", update=False)


def test_command_check_prints_what_moved_and_exits_with_one(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["check", "--baseline", str(baseline)]
    assert RUNNER.invoke(gw_app, arguments).exit_code == 0
    plant(monkeypatch, "flb", lambda _, answer: Answer((answer.value or 0) + 1e-3))
    failed = RUNNER.invoke(gw_app, arguments)
    assert failed.exit_code == 1
    assert "flb" in failed.stdout
    assert "baseline" in failed.stdout
    document = json.loads(RUNNER.invoke(gw_app, [*arguments, "--json"]).stdout)
    assert document["gw"]["passed"] is False
    assert RUNNER.invoke(gw_app, [*arguments, "--update"]).exit_code == 0
    assert RUNNER.invoke(gw_app, arguments).exit_code == 0


def saved(folder: Path, **arrays: np.ndarray) -> list[str]:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return [str(folder / f"{name}.npy") for name in arrays]


def test_command_solve(tmp_path: Path) -> None:
    z, y = np.array([[0.2, 0.4, 0.6, 0.8, 1.0]]), np.array([[0.1, 0.3, 0.5, 0.7, 0.9]])
    paths = saved(tmp_path, z=z, y=y, c=z.T @ z, d=y.T @ y, p=np.full(5, 0.2), q=np.full(5, 0.2))
    one = json.loads(RUNNER.invoke(gw_app, ["solve", *paths[:2], "--logits", "--json"]).stdout)
    two = json.loads(RUNNER.invoke(gw_app, ["solve", *paths[2:4], "--weights", *paths[4:], "--json"]).stdout)
    for document in (one, two):
        assert document["exact"] == pytest.approx(0.0137, abs=1e-9)
        assert document["ggw_sum"] == pytest.approx(0.55, abs=1e-9)
        assert set(document) >= {"n", "m", "ggw_mean", "lower", "upper", "interval", "why_null", "seconds", "nodes"}
    shown = RUNNER.invoke(gw_app, ["solve", *paths[:2], "--logits", "--solvers", "flb,ggw"]).stdout
    assert "not asked for" in shown
    assert "0.0129" in shown


def test_command_solve_refuses_what_does_not_fit(tmp_path: Path) -> None:
    z, p = saved(tmp_path, z=np.ones((2, 3)), p=np.ones(3) / 3)
    for arguments, message in (
        ([z, z], "square"),
        ([z, z, "--logits", "--weights", p, p], "leave one"),
        ([z, str(tmp_path / "none.npy"), "--logits"], "cannot read"),
        ([z, z, "--logits", "--solvers", "flbb"], "did you mean"),
    ):
        result = RUNNER.invoke(gw_app, ["solve", *arguments])
        assert isinstance(result.exception, InputError)
        assert message in str(result.exception)


def test_command_bench(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "name: tiny\nbudget: 0.05\ncases: [{families: [half-step], sizes: [4], solvers: [ggw, slb, sorted, exact]}]"
    )
    arguments = ["bench", str(tmp_path / "b.yaml"), "--output", str(tmp_path / "run")]
    done = RUNNER.invoke(gw_app, arguments)
    assert done.exit_code == 0
    assert "report.md" in done.stdout
    assert json.loads(RUNNER.invoke(gw_app, [*arguments, "--json"]).stdout)["claims"]["half-step"]
    for wrong in (["bench"], ["bench", "x.yaml", "--preset", "quick"], [*arguments, "--pivot", "a.npy"]):
        assert isinstance(RUNNER.invoke(gw_app, wrong).exception, InputError)
