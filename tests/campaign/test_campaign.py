"""The short form of the campaign, and the campaign itself, which must notice what fails."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.campaign import damage, report
from tests.campaign.__main__ import run
from tests.campaign.commands import Done, complaint
from tests.campaign.kinds import KINDS
from tests.campaign.trials import Failures, Kind, Setting, run_kind
from tests.campaign.verbs import difference, leftovers

LONG = ("fuzz-cli", "kill-score")
"""kinds whose few trials take more than ten seconds"""
SHORT = [
    pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name, kind in KINDS.items() if kind.short
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.mark.parametrize("name", SHORT)
def test_a_few_trials_of_each_light_kind(shared: Path, name: str) -> None:
    kind = KINDS[name]
    (result,) = run({name: kind}, {name: range(kind.short)}, seed=0, minutes=5, shared=shared, short=True)
    assert result.passed, report.as_text([result])


def setting(folder: Path, **changes: float) -> Setting:
    return Setting(name="made-up", folder=folder, shared=folder, seed=7, **changes)  # pyright: ignore[reportArgumentType]


def made_up(trial: dict[int, str]) -> Kind:
    """A kind whose trials fail as the dictionary says; "!" is an error of the trial itself."""

    def run_trials(own: Setting, wanted: Sequence[int]) -> Failures:
        def one(number: int) -> str:
            if trial.get(number) == "!":
                raise ValueError("it broke")
            return trial.get(number, "")

        yield from own.each(one, wanted)

    return Kind("does nothing", 4, 0, run_trials)


def test_failures_and_errors_of_trials_are_counted_and_can_be_repeated(tmp_path: Path) -> None:
    result = run_kind(made_up({1: "it | failed", 3: "!"}), setting(tmp_path), range(4), lambda done, failed: None)
    assert not result.passed
    assert (result.trials, [failure.trial for failure in result.failures]) == (4, [1, 3])
    assert "it broke" in result.failures[1].what
    assert result.failures[0].replay == "python -m tests.campaign --seed 7 --only made-up --trial 1"
    report.write([dataclasses.replace(result, facts=("it took 3 MiB",))], 7, tmp_path / "out")
    assert json.loads((tmp_path / "out/campaign.json").read_text())["kinds"][0]["failed"] == 2
    page = (tmp_path / "out/campaign.md").read_text()
    assert "| made-up | 4 | 2 |" in page
    assert "it / failed" in page
    assert "--trial 3" in page
    assert "- `made-up`: it took 3 MiB." in page


def test_a_campaign_that_runs_out_of_time_has_not_passed(tmp_path: Path) -> None:
    result = run_kind(made_up({}), setting(tmp_path, deadline=0.0), range(4), lambda done, failed: None)
    assert (result.trials, result.failures, result.passed) == (0, (), False)
    assert "only 0 of 4 trials ran" in report.as_text([result])


def test_a_preparation_that_breaks_is_a_failure(tmp_path: Path) -> None:
    def broken(own: Setting, wanted: Sequence[int]) -> Failures:
        raise RuntimeError("no inputs")
        yield 0, ""

    result = run_kind(Kind("x", 1, 0, broken), setting(tmp_path), range(1), lambda done, failed: None)
    assert not result.passed
    assert "no inputs" in result.failures[0].what


@pytest.mark.parametrize(
    ("code", "err", "what"),
    [
        (0, "", ""),
        (143, "interrupted: run the same command again to resume\n", ""),
        (2, "error: one\ntwo\nthree\n", ""),
        (2, "error: one\ntwo\nthree\nfour\n", "4 lines"),
        (2, "", "0 lines"),
        (1, "Traceback (most recent call last):\n  x\nValueError: y\n", "ValueError: y"),
        (-11, "", "exit code -11"),
        (-14, "", "hung"),
    ],
)
def test_how_a_command_may_end(code: int, err: str, what: str) -> None:
    found = complaint(Done(code, "", err, 1.0))
    assert what in found
    assert bool(found) == bool(what)


def test_lost_doubled_and_left_over(tmp_path: Path) -> None:
    expected = {"rows": ["a", "b"], "weights": "1"}
    assert difference({"rows": ["a", "b"], "weights": "1"}, expected) == ""
    assert "lost 1" in difference({"rows": ["a"], "weights": "1"}, expected)
    assert "some of them twice" in difference({"rows": ["a", "b", "b"], "weights": "1"}, expected)
    assert difference({"rows": ["a", "b"], "weights": "2"}, expected) == "weights: 2 instead of 1"
    for name in (".lock", ".x.abc.part", "rows"):
        (tmp_path / name).touch()
    assert leftovers(tmp_path, {".lock", "rows"}) == [".x.abc.part"]
    assert leftovers(tmp_path, {"rows"}) == [".lock", ".x.abc.part"]


def test_damage_that_is_accepted_with_another_result_is_a_failure(tmp_path: Path) -> None:
    case = damage.Case("fuse", "*", lambda inputs, folder: Done(0, "", "", 1.0), lambda folder: "changed")
    silent = Done(0, "", "", 1.0)
    assert damage._verdict("x", case, silent, tmp_path, "changed") == ""
    assert damage._verdict("x", case, silent, tmp_path, "as before").startswith("accepted with another result")
    assert (
        damage._verdict("x", case, Done(2, "", "error: it is damaged\ndelete it\n", 1.0), tmp_path, "as before") == ""
    )
    assert "traceback" in damage._verdict(
        "x", case, Done(1, "", "Traceback (most recent call last):\n", 1.0), tmp_path, ""
    )
    assert "did not notice" in damage._verdict("cache, verified", case, silent, tmp_path, None)
