"""The regression guard catches planted errors and slowdowns, and does not flag clean runs."""

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
    """One problem and few solvers, for speed; limits that other work on the machine does not reach."""
    monkeypatch.setattr(check, "PROBLEMS", (("synthetic-rank-raw", 48),))
    for name, limit in (("SLOWER", 6.0), ("SLOWER_ELSEWHERE", 60.0), ("SLOWER_SECONDS", 20.0)):
        monkeypatch.setattr(check, name, limit)
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
    document["seconds"] = {case: seconds / 1000 for case, seconds in document["seconds"].items()}
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
    document["ratios"][name] = {solver: ratio / 8 for solver, ratio in document["ratios"][name].items()}
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
