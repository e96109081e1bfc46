"""`gldbench selftest graders`: our grader passes on real items, and a judge with a bug fails."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gldbench.commands.selftest import selftest_app
from gldbench.grade import GRADERS, judges
from gldbench.grade.judges import Mark
from gldbench.schema import Item, Task
from gldbench.selftest import graders as run
from gldbench.selftest.cases import KINDS, others, spread
from gldbench.selftest.graders import OURS, as_json, selftest_graders
from gldbench.selftest.instructions import BUILDERS
from gldbench.selftest.makers import MAKERS
from gldbench.tasks import load_task, task_names

FILES = [name for name in task_names() if load_task(name).dataset.kind == "file"]
TEXTS = [name for name in FILES if load_task(name).scorer != "code"]


@pytest.fixture
def only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval takes seconds to import, and other tests cover it."""
    monkeypatch.setattr(run, "GRADERS", {OURS: GRADERS[OURS]})


def test_every_benchmark_has_cases() -> None:
    assert {load_task(name).scorer for name in FILES} <= set(MAKERS)


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("name", TEXTS)
def test_our_grader_is_right_on_real_items(name: str, benchmark_data: Path) -> None:
    result = selftest_graders([name], benchmark_data, items=6)
    wrong = [(row.kind, failure) for row in result.rows for failure in row.exceptions]
    assert wrong == []
    assert result.passed
    assert [row.kind for row in result.rows] == list(KINDS)
    assert all(row.n > 0 and row.score is not None for row in result.rows)


def first_letter(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """The bug of `first_option`: "A man went home. (C)" is A."""
    letters = [next((c for c in output if c in "ABCDE"), None) for output in outputs]
    return [
        [Mark(filter="answer", metric="accuracy", value=float(letter == item.target), answered=letter is not None)]
        for item, letter in zip(items, letters, strict=True)
    ]


@pytest.mark.usefixtures("only_ours")
def test_a_planted_bug_fails_the_command(monkeypatch: pytest.MonkeyPatch, benchmark_data: Path) -> None:
    monkeypatch.setitem(judges.JUDGES, "choice", dataclasses.replace(judges.JUDGES["choice"], judge=first_letter))
    result = CliRunner().invoke(
        selftest_app, ["graders", "--data", str(benchmark_data), "--tasks", "arc_c", "--items", "4", "--json"]
    )
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["passed"] is False
    failed = {row["kind"]: row for row in document["rows"] if not row["ok"]}
    assert {"paraphrase", "near_miss"} <= set(failed)
    assert any("A man went home." in failure["output"] for failure in failed["paraphrase"]["exceptions"])


@pytest.mark.usefixtures("only_ours")
def test_the_command_prints_a_table(benchmark_data: Path) -> None:
    result = CliRunner().invoke(
        selftest_app, ["graders", "--data", str(benchmark_data), "--tasks", "bbh", "--items", "5"]
    )
    assert result.exit_code == 0
    assert "our grader is right on every case" in result.stdout
    assert [line.split()[:3] for line in result.stdout.splitlines() if line.startswith("bbh")] == [
        ["bbh", OURS, kind] for kind in KINDS
    ]


def test_bugs_upstream_are_listed_and_do_not_fail_it(benchmark_data: Path) -> None:
    result = selftest_graders(["gsm8k"], benchmark_data, items=3)
    document = as_json(result)
    assert document["passed"]
    upstream = [row for row in document["rows"] if row["grader"] == "lm_eval" and not row["ok"]]
    assert upstream
    assert all(failure["why"] for row in upstream for failure in row["exceptions"])
    assert {"task", "grader", "kind", "n", "score", "required", "ok", "exceptions"} <= set(document["rows"][0])


def test_what_cannot_be_run_is_skipped_with_the_fix(monkeypatch: pytest.MonkeyPatch, benchmark_data: Path) -> None:
    missing = dataclasses.replace(MAKERS["code"], needs=lambda: "no sandbox: install bubblewrap")
    monkeypatch.setitem(run.MAKERS, "code", missing)
    result = selftest_graders(["humaneval"], benchmark_data, items=2)
    assert result.passed
    assert {(row.score, row.skipped) for row in result.rows} == {(None, "no sandbox: install bubblewrap")}


def items_of(count: int, targets: str = "ABCD") -> list[Item]:
    return [Item("toy", "default", str(n), "prompt", targets[n % len(targets)], str(n)) for n in range(count)]


def test_items_are_spread_over_the_file() -> None:
    assert [item.item_id for item in spread(items_of(100), 4)] == ["0", "25", "50", "75"]
    assert len(spread(items_of(3), 40)) == 3


def test_other_items_have_other_answers() -> None:
    pairs = list(others(items_of(5, "AB"), lambda a, b: a.target == b.target))
    assert len(pairs) == 5
    assert all(a.target != b.target for a, b in pairs)


def test_most_kinds_of_instructions_are_built(benchmark_data: Path) -> None:
    lines = (benchmark_data / "ifeval" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    named = {name for line in lines for name in json.loads(line)["instruction_id_list"]}
    assert set(BUILDERS) <= named
    assert len(BUILDERS) >= 17


def test_each_case_is_scored_by_itself() -> None:
    """The grader is called once for all cases, and equal items do not share a score."""
    task = load_task("gsm8k")
    item = dataclasses.replace(items_of(1)[0], target="18")
    cases = [run.Case("gold", item, "\\boxed{18}"), run.Case("near_miss", item, "\\boxed{19}")]
    assert run._scores(task, OURS, GRADERS[OURS], cases) == [1.0, 0.0]
