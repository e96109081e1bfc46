"""The regression guard catches planted errors and slowdowns, and does not flag clean runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gldbench.commands.gw import gw_app
from gldbench.guards import gw as check
from gldbench.gw.problem import Problem
from gldbench.gw.solvers import SOLVERS, Answer
from gldbench.timing import Timing
from gldfusion.errors import InputError

RUNNER = CliRunner()


class Clock:
    """Stands for `interleaved`: its samples are given and not measured, so no test depends on the machine."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """seconds by solver; 1 for the others"""
        self.spread = 1.0
        """median sample over the smallest one"""

    def __call__(self, tasks: Mapping[str, Callable[[], Any]], repeats: int, budget: float) -> dict[str, Timing[Any]]:
        return {name: self._timing(task, self.seconds.get(name, 1.0)) for name, task in tasks.items()}

    def _timing(self, task: Callable[[], Any], seconds: float) -> Timing[Any]:
        samples = (seconds, *(seconds * self.spread for _ in range(6)))
        return Timing(task(), seconds, samples, 1, None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """One problem and few solvers, on a quiet machine whose clock is planted."""
    monkeypatch.setattr(check, "PROBLEMS", (("synthetic-rank-raw", 48),))
    monkeypatch.setattr(check, "GUARDED", ("ggw", "flb", "slb", "sorted", "tlb"))
    monkeypatch.setattr(check, "PAUSE", 0.0)
    monkeypatch.setattr(check, "SHARE", 0.0)
    monkeypatch.setattr(check.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    planted = Clock()
    monkeypatch.setattr(check, "interleaved", planted)
    return planted


@pytest.fixture
def baseline(clock: Clock, tmp_path: Path) -> Path:
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


def test_a_planted_error_is_caught(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "slb", lambda _, answer: Answer((answer.value or 0) * (1 + 1e-7)))
    result = check.check_gw(baseline, update=False)
    assert [(move.subject, move.what) for move in result.moves] == [("slb", "value")]


def test_a_planted_worse_coupling_is_caught(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "sorted", lambda problem, _: Answer(coupling=np.full((problem.n, problem.m), 1 / problem.n**2)))
    assert ("sorted", "value") in [(move.subject, move.what) for move in check.check_gw(baseline, update=False).moves]


def test_a_planted_slowdown_is_caught(baseline: Path, clock: Clock) -> None:
    clock.seconds = {"ggw": 1.01 * check.SLOWER}
    result = check.check_gw(baseline, update=False)
    assert [(move.subject, move.what) for move in result.moves] == [("ggw", "ratio")]
    assert (result.moves[0].before, result.moves[0].now) == (1.0, 1.01 * check.SLOWER)
    clock.seconds = {"ggw": 0.99 * check.SLOWER}
    assert check.check_gw(baseline, update=False).passed


BUSY = {"spread": "spread", "share": "took the processor", "load": "the load of the machine"}


@pytest.mark.parametrize("sign", BUSY)
def test_a_slowdown_on_a_busy_machine_is_inconclusive(
    sign: str, baseline: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.seconds = {"ggw": 9.0, check.REFERENCE: 1.0}
    clock.spread = 2.0 if sign == "spread" else 1.0
    if sign == "share":
        monkeypatch.setattr(check, "SHARE", math.inf)
    if sign == "load":
        monkeypatch.setattr(check.os, "getloadavg", lambda: (1e6, 0.0, 0.0))
    result = check.check_gw(baseline, update=False)
    assert result.passed
    assert [(move.subject, move.what) for move in result.inconclusive] == [("ggw", "ratio")]
    assert BUSY[sign] in result.notes[-1]
    shown = RUNNER.invoke(gw_app, ["check", "--baseline", str(baseline)])
    assert shown.exit_code == 0
    assert "1 inconclusive" in shown.stdout
    document = json.loads(RUNNER.invoke(gw_app, ["check", "--baseline", str(baseline), "--json"]).stdout)["gw"]
    assert (document["passed"], len(document["inconclusive"]), document["moves"]) == (True, 1, [])


def test_a_wrong_value_on_a_busy_machine_still_fails(
    baseline: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.spread = 2.0
    plant(monkeypatch, "slb", lambda _, answer: Answer((answer.value or 0) * (1 + 1e-7)))
    assert [move.subject for move in check.check_gw(baseline, update=False).moves] == ["slb"]


def test_a_slower_reference_is_caught_in_its_own_environment(baseline: Path, clock: Clock) -> None:
    document = json.loads(baseline.read_text())
    document["seconds"] = {case: seconds / 1000 for case, seconds in document["seconds"].items()}
    baseline.write_text(json.dumps(document))
    assert [move.what for move in check.check_gw(baseline, update=False).moves] == ["seconds"]
    clock.spread = 2.0
    assert [move.what for move in check.check_gw(baseline, update=False).inconclusive] == ["seconds"]
    document["environment"]["commit"] = "another"
    baseline.write_text(json.dumps(document))
    result = check.check_gw(baseline, update=False)
    assert result.passed
    assert "seconds are not" in result.notes[0]


def test_another_environment_gets_a_wider_limit_and_a_note(baseline: Path) -> None:
    document = json.loads(baseline.read_text())
    document["environment"]["env_id"] = "elsewhere"
    name = next(iter(document["ratios"]))
    document["ratios"][name] = {solver: ratio / 3 for solver, ratio in document["ratios"][name].items()}
    baseline.write_text(json.dumps(document))
    result = check.check_gw(baseline, update=False)
    assert result.passed
    assert "elsewhere" in result.notes[0]


def test_a_solver_that_is_new_or_gone_is_told(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "GUARDED", ("ggw", "flb", "slb", "sorted", "anova"))
    result = check.check_gw(baseline, update=False)
    assert [(move.subject, move.what) for move in result.moves] == [("tlb", "value")]
    assert [(move.subject, move.what) for move in result.new] == [("anova", "new")]


def test_no_baseline_and_bad_baselines(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(InputError, match="--update"):
        check.check_gw(tmp_path / "none.json", update=False)
    for text in ("{", "[]", '{"format": 99}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=r"no baseline|is not JSON"):
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
