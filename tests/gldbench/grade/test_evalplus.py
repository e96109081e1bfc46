"""The grader "evalplus": EvalPlus's own check in the sandbox, one process per item, which no program can reach."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gldbench import sandbox
from gldbench.grade import GRADERS, evalplus
from gldbench.grade.judges import code
from gldbench.grade.programs import reading
from gldbench.grade.programs.code_problem import reference
from gldbench.sandbox import Checked, launch
from gldbench.schema import Item, Response
from gldbench.tasks import load_task
from gldfusion.errors import InputError

RECORD = {
    "task_id": "HumanEval/0", "prompt": 'def f(x):\n    """The next number."""\n', "entry_point": "f",
    "canonical_solution": "    return x + 1\n", "base_input": [[1], [2]], "plus_input": [[3], [41]], "atol": 0,
    "contract": "", "test": "",
}  # fmt: skip
ALWAYS = "class Yes:\n    def __eq__(self, other): return True\ndef f(x):\n    return Yes()\n"
ANSWERS = {
    "right": "```python\ndef f(x):\n    return x + 1\n```",
    "base only": "```python\ndef f(x):\n    return x + 1 if x < 3 else 0\n```",
    "wrong": "```python\ndef f(x):\n    return x\n```",
    "loop": "```python\ndef f(x):\n    while True: pass\n```",
    "cheat": f"```python\n{ALWAYS}```",
    "none": "I do not know.",
}


def installed() -> None:
    if importlib.util.find_spec("evalplus") is None:
        pytest.skip("evalplus is not installed")
    if reason := sandbox.trouble():
        pytest.skip(f"no sandbox: {reason}")


def item(item_id: str, record: dict[str, Any]) -> Item:
    return Item("humaneval_plus", "default", item_id, "", "", item_id, record=record)


def response(item_id: str, output: str) -> Response:
    return Response("", "", "humaneval_plus", item_id, "", output, 1, 1, False, False, 0.0)


def test_it_applies_to_what_evalplus_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    applying = {name for name in ("humaneval", "humaneval_plus", "mbpp", "mbpp_plus", "gsm8k")
                if GRADERS["evalplus"].applies(load_task(name))}  # fmt: skip
    assert applying == {"humaneval_plus", "mbpp_plus"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not GRADERS["evalplus"].applies(load_task("mbpp_plus"))


def test_its_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that equals everything passes where EvalPlus itself runs the program, but not here."""
    installed()
    monkeypatch.setattr(evalplus, "_PROGRAM", replace(evalplus._PROGRAM, cpu_seconds=2))  # the loop would run for 62 s
    names = list(ANSWERS)
    records = {name: {**RECORD, "task_id": f"HumanEval/{number}"} for number, name in enumerate(names)}
    items, responses = [item(n, records[n]) for n in names], [response(n, ANSWERS[n]) for n in names]
    grades = evalplus.grade(load_task("humaneval_plus"), items, responses)
    assert {g.item_id: g.value for g in grades if g.filter == "answer"} == {
        "right": 1.0, "base only": 0.0, "wrong": 0.0, "loop": 0.0, "cheat": 0.0, "none": 0.0,
    }  # fmt: skip
    assert {g.item_id for g in grades if g.filter == "base" and g.value} == {"right", "base only"}
    statuses = {g.item_id: g.status for g in grades if g.filter == "answer"}
    assert statuses == {**dict.fromkeys(names, "ok"), "loop": statuses["loop"], "none": "no_answer"}
    assert {g.metric for g in grades} == {"pass@1"}
    ours = code.judge_programs(load_task("humaneval_plus"), items, list(ANSWERS.values()))
    assert [own[0].value for own in ours] == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_it_reads_real_problems_as_evalplus_does(benchmark_data: Path) -> None:
    installed()
    lines = (benchmark_data / "mbpp_plus/test.jsonl").read_text(encoding="utf-8").split("\n")
    records = {record["task_id"]: record for record in map(json.loads, filter(None, lines[:6]))}
    solutions = {name: reference(record) for name, record in records.items()}
    solutions["Mbpp/3"] = "def is_not_prime(n):\n    return None\n"
    found = evalplus.check_solutions("mbpp", list(records.values()), [solutions[name] for name in records])
    passed = {name for name, parts in zip(records, found, strict=True) if set(parts.values()) == {"pass"}}
    assert passed == set(records) - {"Mbpp/3"}


def test_it_needs_no_output_of_a_reference_that_does_not_fit_into_memory(benchmark_data: Path) -> None:
    lines = (benchmark_data / "mbpp_plus/test.jsonl").read_text(encoding="utf-8").split("\n")
    (record,) = [record for record in map(json.loads, filter(None, lines)) if record["task_id"] == "Mbpp/255"]
    (parts,) = evalplus.check_solutions("mbpp", [record], [reference(record)])
    assert all(part.startswith("no grade: the results of the reference") for part in parts.values())


def test_without_a_sandbox_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "trouble", lambda: "taken away by a test")
    with pytest.raises(InputError, match="needs a sandbox"):
        evalplus.grade(load_task("humaneval_plus"), [item("a", RECORD)], [response("a", ANSWERS["right"])])


@pytest.mark.parametrize(
    ("checked", "value", "status", "words"),
    [
        (Checked(reason="the program's process ended before it answered"), 0.0, "error", "ended before it answered"),
        (Checked(reason="the program was killed", timeout=True), 0.0, "timeout", "timeout"),
        (Checked(["no grade: the reference raises MemoryError", "pass"]), None, "error", "MemoryError"),
        (Checked(["fail", "pass"]), 0.0, "ok", "EvalPlus: fail"),
    ],
)
def test_a_failure_is_an_error_of_its_own_item(
    monkeypatch: pytest.MonkeyPatch, checked: Checked, value: float | None, status: str, words: str
) -> None:
    monkeypatch.setattr(launch, "trouble", lambda: "")
    monkeypatch.setattr(evalplus, "check_programs", lambda programs, checks: [checked, Checked(["pass", "pass"])])
    items, responses = [item(n, RECORD) for n in "ab"], [response(n, ANSWERS["right"]) for n in "ab"]
    grades = {
        g.item_id: g for g in evalplus.grade(load_task("humaneval_plus"), items, responses) if g.filter == "answer"
    }
    assert (grades["a"].value, grades["a"].status) == (value, status)
    assert words in grades["a"].reason
    assert (grades["b"].value, grades["b"].status, grades["b"].reason) == (1.0, "ok", "")


def test_an_output_that_cannot_be_read_is_an_error_of_this_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "trouble", lambda: "")
    monkeypatch.setattr(evalplus, "check_programs", lambda programs, checks: [])
    monkeypatch.setattr(evalplus, "read_programs", lambda requests: [reading.Extraction(None, "none", "too long")])
    grades = evalplus.grade(load_task("humaneval_plus"), [item("a", RECORD)], [response("a", "x")])
    assert [(g.value, g.status, g.reason) for g in grades] == [(0.0, "error", "too long")] * 2
