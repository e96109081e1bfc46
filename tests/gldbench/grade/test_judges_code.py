"""Answers that are programs: they are found in outputs, run, and tested by the benchmarks' and EvalPlus's tests."""

from __future__ import annotations

import ast
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from gldbench import sandbox
from gldbench.grade.judges import JUDGES, code
from gldbench.grade.judges.judge import Mark
from gldbench.grade.programs import asserts
from gldbench.grade.programs.code_problem import reference
from gldbench.grade.programs.extract import find_program
from gldbench.grade.programs.inputs import typed_inputs
from gldbench.grade.programs.outputs import right_outputs
from gldbench.sandbox import Opaque, launch
from gldbench.schema import Item
from gldbench.tasks import load_task

PROMPT = 'import math\n\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """The next number."""\n'
BODY = "    return x + 1\n"
ALONE = "def f(x):\n    return x + 1\n"


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / name
    content = path.read_bytes() if path.is_file() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    return [json.loads(line) for line in content.split(b"\n") if line]


def item(record: dict[str, Any]) -> Item:
    task_id = str(record["task_id"])
    return Item("humaneval", "default", task_id, "", "", task_id, record=record)


def marks(record: dict[str, Any], *outputs: str) -> list[list[Mark]]:
    return code.judge_programs(load_task("humaneval"), [item(record)] * len(outputs), outputs)


@pytest.fixture(autouse=True)
def unsafe_where_there_is_no_sandbox() -> Any:
    """The judge is the same with and without a sandbox. test_sandbox.py and test_hostile.py test the sandbox."""
    with sandbox.unsafe_code_allowed():
        yield


# --- finding the program


@pytest.mark.parametrize(
    "output",
    [
        ALONE,
        f"```python\n{ALONE}```",
        f"```\n{ALONE}```\n",
        f"Here it is:\n\n```py\n{ALONE}```\nIt adds one. def f(x): no",
        f"```python\n{ALONE}",  # cut off before the fence was closed
        f"~~~python\n{ALONE}~~~",
        f"```python\ndef f(x):\n    return 0\n```\nNo, wait:\n```python\n{ALONE}```",
        f"```python\n{ALONE}```\nCall it:\n```python\nprint(g(1))\n```",
        f"```bash\npip install x\n```\n```python\n{ALONE}```",
        f"[BEGIN]\n{ALONE}[DONE]\n[BEGIN]\ndef f(x):",
        f"{ALONE}[DONE]\nmore",
        f"I would write\n\n{ALONE}\nwhich adds one.",
        f"{ALONE}\nassert f(1) ==",
        ALONE.replace("\n", "\r\n"),
        "f = lambda x: x + 1",
        "from __future__ import annotations\n" + ALONE,
        "def helper(y):\n    return y\n\n" + ALONE,
    ],
)
def test_a_program_that_stands_alone_is_found(output: str) -> None:
    program = find_program(output, "f", PROMPT)
    assert program is not None
    assert ends_right(program)


@pytest.mark.parametrize(
    "output",
    [
        BODY,
        "\n" + BODY,
        "return x + 1\n",
        BODY + "\n\nassert f(1) == 2 and (",
        BODY + "\nThis adds one.",
        f"```python\n{BODY}```",
        "    y = helper(x)\n\n    return math.floor(y) + 1\n\ndef g(:\n",
    ],
)
def test_a_continuation_is_joined_to_its_prompt(output: str) -> None:
    program = find_program(output, "f", PROMPT)
    assert program is not None
    assert ends_right(program)
    assert find_program(output, "f", "") is None


def ends_right(program: str) -> bool:
    names: dict[str, Any] = {}
    exec(program, names)
    return names["f"](1) == 2


@pytest.mark.parametrize(
    "output",
    ["", "I cannot.", "def g(x):\n    return x\n", "f(1)", "```python\n```", "x = 'def f(x)'", "\0", "(" * 9999],
)
def test_where_there_is_no_program_there_is_none(output: str) -> None:
    assert find_program(output, "f", "") is None


def test_what_the_prompt_defines_is_there() -> None:
    program = find_program("```python\ndef f(x):\n    return helper(math.floor(x)) + 1\n```", "f", PROMPT)
    assert program is not None
    assert ends_right(program)


def test_every_reference_is_found_in_a_fence_and_as_a_continuation(benchmark_data: Path) -> None:
    for record in rows(benchmark_data, "humaneval/test.jsonl"):
        prompt, entry, body = record["prompt"], record["entry_point"], record["canonical_solution"]
        for output in (f"Sure.\n```python\n{prompt}{body}\n```", body, body + "\n\nThat is all."):
            program = find_program(output, entry, prompt)
            assert program is not None
            assert ast.dump(last(program, entry)) == ast.dump(last(prompt + body, entry))


def last(program: str, entry: str) -> ast.AST:
    return [n for n in ast.parse(program).body if isinstance(n, ast.FunctionDef) and n.name == entry][-1]


# --- EvalPlus's rules


@pytest.mark.parametrize(
    ("task_id", "inputs", "output", "expected", "atol", "right"),
    [
        ("x", (1,), 2, 2, 0, True),
        ("x", (1,), 2.0, 2, 0, True),
        ("x", (1,), (1, 2), [1, 2], 0, False),
        ("x", (1,), 0.1 + 0.2, 0.3, 0, True),  # a float is expected: 1e-6
        ("x", (1,), 0.3001, 0.3, 0, False),
        ("x", (1,), [0.1 + 0.2], [0.3], 0, True),
        ("x", (1,), (0.3,), [0.3], 0, False),
        ("x", (1,), [0.3, 0.3], [0.3], 0, False),
        ("x", (1,), 105, 100, 10, True),
        ("x", (1,), 105, 100.0, 10, False),  # of another type
        ("x", (1,), "a", 1.0, 0, False),
        ("x", (1,), math.nan, math.nan, 0, True),
        ("x", (1,), math.nan, 1.0, 0, False),
        ("x", (1,), [[1.0], 2], [[1.0], 3], 1e-6, False),
        ("x", (1,), Opaque("deque"), [1], 0, False),
        ("HumanEval/32", ([-6, 11, -6, 1],), 2.00000001, 1.0, 1e-4, True),
        ("HumanEval/32", ([-6, 11, -6, 1],), 2.5, 2.5, 1e-4, False),
        ("HumanEval/32", ([-6, 11, -6, 1],), None, 1.0, 1e-4, False),
        ("Mbpp/2", ((), ()), [2, 1, 1], (1, 2), 0, True),
        ("Mbpp/2", ((), ()), [2, 1, 3], (1, 2), 0, False),
        ("Mbpp/2", ((), ()), None, (1, 2), 0, False),
        ("Mbpp/737", ("a",), Opaque("Match"), Opaque("Match"), 0, True),
        ("Mbpp/737", ("a",), True, Opaque("Match"), 0, True),
        ("Mbpp/737", ("a",), False, None, 0, True),
        ("Mbpp/737", ("a",), Opaque("Match"), None, 0, False),
        ("Mbpp/737", ("a",), None, Opaque("Match"), 0, False),
        ("Mbpp/558", (1, 111), 3, 0, 0, False),
        ("Mbpp/558", (1, 111), 2, 0, 0, True),
        ("Mbpp/581", (3, 4), 35, 33, 0, True),
        ("Mbpp/581", (3, 4), 34, 33, 0, False),
    ],
)
def test_outputs_are_compared_as_evalplus_does(
    task_id: str, inputs: tuple[Any, ...], output: Any, expected: Any, atol: float, right: bool
) -> None:
    assert right_outputs(task_id, [inputs], [output], [expected], atol) == [right]


def test_every_input_of_mbpp_plus_has_the_type_that_its_own_python_file_gives(benchmark_data: Path) -> None:
    """The same problems are also published as Python source, which has tuples and sets."""
    by_id = {record["task_id"]: record for record in rows(benchmark_data, "mbpp_plus/test_originfmt.jsonl")}
    checked = 0
    for record in rows(benchmark_data, "mbpp_plus/test.jsonl"):
        source = next(s for s in by_id[int(record["task_id"][5:])]["test"].split("\n") if s.startswith("inputs = "))
        given = [typed_inputs(record["task_id"], row) for row in [*record["base_input"], *(record["plus_input"] or ())]]
        names = {"inf": math.inf, "nan": math.nan, "set": set, "__builtins__": {}}
        if len(source) < 20_000:
            # complex numbers by value: their repr is not always what they are read from
            shown = tuple if record["task_id"] in ("Mbpp/124", "Mbpp/252") else repr
            written = {shown(tuple(row)) for row in eval(source[9:], names)}
            assert written <= {shown(row) for row in given}, record["task_id"]  # that file leaves a few inputs out
            checked += 1
    assert checked > 300


# --- judging

PLUS = {
    "task_id": "Test/0", "prompt": PROMPT, "entry_point": "f", "canonical_solution": BODY, "base_input": [[1], [2]],
    "plus_input": [[3], [41]], "atol": 0,
}  # fmt: skip
CHECK = {
    "task_id": "Test/1", "prompt": PROMPT, "entry_point": "f", "canonical_solution": BODY,
    "test": "def check(candidate):\n    import random\n    for n in [1, random.randint(2, 99)]:\n"
    "        assert candidate(n) == n + 1\n    assert helper(candidate(5)) == 6\n",
}  # fmt: skip
MBPP = {
    "task_id": 11, "text": "Add one.", "code": "import math\ndef f(x):\r\n  return x + 1", "test_setup_code": "n = 4",
    "test_list": ["assert f(1) == 2", "assert math.isclose(f(n), 5.0)", "assert set([f(0), f(f(0))]) == {1, 2}"],
}  # fmt: skip


def test_it_is_the_judge_of_the_code_benchmarks() -> None:
    names = ("humaneval", "humaneval_plus", "mbpp", "mbpp_plus")
    assert {load_task(name).scorer for name in names} == {"code"}
    assert JUDGES["code"] is code.CODE
    assert code.judge_programs(load_task("mbpp"), [], []) == []


@pytest.mark.parametrize("record", [PLUS, CHECK, MBPP])
def test_right_wrong_failing_and_missing_programs(record: dict[str, Any]) -> None:
    found = marks(record, ALONE, "def f(x):\n    return x + 2", "def f(x):\n    return 1 // 0", "no idea")
    assert [own[0].value for own in found] == [1.0, 0.0, 0.0, 0.0]
    assert [own[0].status for own in found] == [None, None, "error", None]
    assert [own[0].answered for own in found] == [True, True, True, False]
    words = ["", "", "raised ZeroDivisionError", "no program that defines f"]
    assert all(word in own[0].reason for word, own in zip(words, found, strict=True))
    assert "fail" in found[1][0].reason
    assert {(mark.filter, mark.metric) for own in found for mark in own} - {("base", "pass@1")} == {
        ("answer", "pass@1")
    }


def test_the_base_filter_asks_only_the_benchmarks_own_tests() -> None:
    (own,) = marks(PLUS, "def f(x):\n    return x + 1 if x < 3 else 0\n")
    assert {mark.filter: mark.value for mark in own} == {"answer": 0.0, "base": 1.0}
    assert own[0].reason.startswith("2 of 4 tests fail")


@pytest.mark.parametrize("record", [PLUS, CHECK, MBPP])
def test_an_object_that_equals_everything_is_wrong(record: dict[str, Any]) -> None:
    source = "class Yes(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
    (number,), (thing,) = (
        [mark for mark in own if mark.filter == "answer"]
        for own in marks(
            record,
            source + "def f(x):\n    return Yes(0)\n",
            source.replace("(int)", "").replace("int.", "object.") + "def f(x):\n    return Yes()\n",
        )
    )
    assert (number.value, thing.value) == (0.0, 0.0)


def test_what_is_expected_never_enters_a_candidates_process() -> None:
    for record in (PLUS, CHECK, MBPP):
        (problem,) = code.prepare([{**record, "canonical_solution": BODY.replace("+ 1", "+ 1 + 0x5ec2e7 * 0")}])
        text = repr((problem.entry, problem.calls, problem.setup, problem.limits))
        assert "isclose" not in text
        assert "0x5ec2e7" not in text
        assert "assert" not in text
    (problem,) = code.prepare([MBPP])
    assert problem.calls == ("f(1)", "f(n)", "f(0)", "f(f(0))")


def test_a_row_names_that_there_was_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "trouble", lambda: "taken away by a test")
    for own in marks(PLUS, ALONE, "no idea", "def f(x):\n    return 0"):
        assert all("unsafe-code" in mark.reason for mark in own)
    monkeypatch.undo()
    if not sandbox.trouble():
        assert all("unsafe-code" not in mark.reason for own in marks(PLUS, ALONE) for mark in own)


def test_a_reference_that_fails_is_an_error_and_no_verdict() -> None:
    (own,) = marks({**PLUS, "canonical_solution": "    return 1 // 0\n"}, ALONE)
    assert [(mark.value, mark.status) for mark in own] == [(0.0, "error")] * 2
    assert "the reference itself fails" in own[0].reason
    (own,) = marks({**CHECK, "canonical_solution": "    return 0\n"}, ALONE)
    assert (own[0].value, own[0].status) == (0.0, "error")


def test_every_assertion_of_mbpp_can_be_cut(benchmark_data: Path) -> None:
    records = rows(benchmark_data, "mbpp/test.jsonl")
    problems = asserts.prepare_mbpp(records)
    assert [problem.task_id for problem in problems if problem.trouble] == []
    assert sum(len(record["test_list"]) for record in records) <= sum(len(problem.calls) for problem in problems)
    for problem in problems:
        (assertions,) = problem.evidence
        assert not any(f"{problem.entry}(" in text.replace(f"_{problem.entry}(", "") for text in assertions)


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("humaneval/test.jsonl", ["HumanEval/0", "HumanEval/32", "HumanEval/38", "HumanEval/50"]),
        ("humaneval_plus/test.jsonl", ["HumanEval/0", "HumanEval/32", "HumanEval/160"]),
        ("mbpp/test.jsonl", [11, 82, 367, 434, 438]),
        ("mbpp_plus/test.jsonl", ["Mbpp/2", "Mbpp/124", "Mbpp/252", "Mbpp/558", "Mbpp/581", "Mbpp/737"]),
    ],
)
def test_references_pass_and_each_others_do_not(benchmark_data: Path, file: str, wanted: list[Any]) -> None:
    """A few of each kind; `make test-full` does them all."""
    records = [record for record in rows(benchmark_data, file) if record["task_id"] in wanted]
    check_references(records)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["humaneval", "humaneval_plus", "mbpp", "mbpp_plus"])
def test_every_reference_passes(benchmark_data: Path, name: str) -> None:
    check_references(rows(benchmark_data, f"{name}/test.jsonl"))


def check_references(records: list[dict[str, Any]]) -> None:
    programs = [reference(record) for record in records]
    task, items = load_task("humaneval"), [item(record) for record in records]
    right = code.judge_programs(task, items, [f"```python\n{program}\n```" for program in programs])
    assert [record["task_id"] for record, own in zip(records, right, strict=True) if own[0].value != 1] == []
    entries = [problem.entry for problem in code.prepare(records)]
    nothing = code.judge_programs(task, items, [f"def {entry}(*arguments):\n    return 'no'\n" for entry in entries])
    assert [record["task_id"] for record, own in zip(records, nothing, strict=True) if own[0].value != 0] == []
