"""Answers that are programs: they are found in outputs, run, and tested by the benchmarks' and EvalPlus's tests."""

from __future__ import annotations

import ast
import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gldbench import sandbox
from gldbench.grade.judges import JUDGES, code
from gldbench.grade.judges.judge import Mark
from gldbench.grade.programs import asserts, outputs, plus, reading
from gldbench.grade.programs.assemble import assemble
from gldbench.grade.programs.code_problem import reference
from gldbench.grade.programs.extract import extract, find_program
from gldbench.grade.programs.inputs import typed_inputs
from gldbench.grade.programs.outputs import right_outputs
from gldbench.sandbox import Opaque, launch, plain
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


def test_an_item_that_cannot_be_tested_gives_no_grade(monkeypatch: pytest.MonkeyPatch) -> None:
    """The response may be right. Only an output without a program is wrong in any case."""
    record = {"task_id": "HumanEval/0", "prompt": PROMPT, "canonical_solution": BODY, "entry_point": "f", "test": ""}
    broken = code.Problem("HumanEval/0", "f", (), asserts.LIMITS, asserts.Check(""), trouble="the reference fails")
    monkeypatch.setattr(code, "prepare", lambda records: [broken] * len(records))
    (testable,), (without,) = marks(record, ALONE, "I do not know.")
    assert (testable.value, testable.status, testable.reason.split(";")[0]) == (None, "error", "the reference fails")
    assert (without.value, without.status) == (0.0, None)


def test_a_function_without_tests_gives_no_grade() -> None:
    task = load_task("world_list_functions")
    ((mark,),) = code.judge_functions(task, [Item("world", "default", "0", "", "", "0", entry="f")], ["# x"])
    assert (mark.value, mark.status, mark.reason) == (None, "error", "the item has no tests")


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


FENCE = "```"
HELPED = f"{FENCE}python\ndef f(x):\n    return step(x) + 1\n{FENCE}\nIt needs:\n"


@pytest.mark.parametrize(
    "output",
    [
        f"{HELPED}{FENCE}python\ndef step(x):\n    return x\n{FENCE}",
        f"{FENCE}python\ndef step(x):\n    return x\n{FENCE}\nThen:\n{HELPED}",
        f"{HELPED}{FENCE}\ndef step(x):\n    return turn(x)\n{FENCE}\n{FENCE}\nimport math\ndef turn(x):\n"
        f"    return math.floor(x)\n{FENCE}",
        f"{HELPED}{FENCE}\nLIMIT = 0\nstep = lambda x: x + LIMIT\n{FENCE}",
        f"{FENCE}\nfrom typing import List\nimport math as m\n{FENCE}\n{FENCE}\ndef f(x: List[int]):\n"
        f"    return m.floor(x) + 1\n{FENCE}",
        f"{HELPED.replace('def f', 'from __future__ import annotations' + chr(10) + 'def f')}{FENCE}\n"
        f"def step(x):\n    return x\n{FENCE}",
    ],
)
def test_what_the_program_lacks_comes_from_other_fences(output: str) -> None:
    found = extract(output, "f")
    assert found.how == "fence"
    assert ends_right(found.program or "")


@pytest.mark.parametrize(
    "output",
    [
        f'{FENCE}python\ndef f(x):\n    """Adds.\n\n    {FENCE}\n    f(1) == 2\n    {FENCE}\n    """\n'
        f"    return x + 1\n{FENCE}\nDone.",
        f'{FENCE}python\ndef f(x):\n    """Adds.\n\n{FENCE}python\nf(1)\n{FENCE}\n    """\n'
        f"    return x + 1\n{FENCE}\n{FENCE}python\nprint(f(2))\n{FENCE}",
        f"{FENCE}python\ndef f(x):\n    '''Adds.\n{FENCE}\n    '''\n    return x + 1\n{FENCE}",
        f"{FENCE}python\ndef f(x):\n    return 0\n{FENCE}\nNo:\n{FENCE}python\ndef f(x):\n    return x + 1\n",
        f"1. Like this:\n\n   {FENCE}python\n   def f(x):\n       return x + 1\n   {FENCE}\n",
        f"1. Like this:\n\n   {FENCE}python\n   def f(x):\n       return x + 1\n{FENCE}\n",
        f"1. {FENCE}python\n   def f(x):\n       return x + 1\n   {FENCE}\n2. Done.",
        f"- {FENCE}python\n  def f(x):\n      return x + 1\n  {FENCE}\n- Done.",
        f"> {FENCE}python\n> def f(x):\n>     return x + 1\n> {FENCE}\n",
        f"1. So:\n\n    {FENCE}python\n    def f(x):\n        '''One.\n  more\n'''\n        return x + 1\n    {FENCE}",
        f"10. Like this:\n\n\t{FENCE}python\n\tdef f(x):\n\t    return x + 1\n\t{FENCE}\n",
        f"1. Like this:\n   {FENCE}python\ndef f(x):\n    return x + 1\n   {FENCE}\n",
    ],
)
def test_a_fence_ends_where_its_program_ends(output: str) -> None:
    found = extract(output, "f")
    assert found.how == "fence"
    assert ends_right(found.program or "")


@pytest.mark.parametrize(
    ("output", "how"),
    [
        (ALONE, "bare"), (BODY, "bare"), (f"{FENCE}\n{ALONE}{FENCE}", "fence"), (f"{FENCE}\n{BODY}{FENCE}", "fence"),
        (f"{ALONE}\nRun it:\n{FENCE}bash\npython f.py\n{FENCE}", "bare"),
        (f"{ALONE}\nTry it:\n{FENCE}python\nprint(f(2))\n{FENCE}", "bare"),
        (f"<think>\n{FENCE}\ndef f(x): return 0\n{FENCE}\n</think>\n{ALONE}", "bare"),
        ("no idea", "none"), ("", "none"), (f"<think>{ALONE}", "none"),
    ],
)  # fmt: skip
def test_it_says_where_the_program_stood(output: str, how: str) -> None:
    found = extract(output, "f", PROMPT)
    assert found.how == how
    assert (found.program is None) == (how == "none")
    assert found.program is None or ends_right(found.program)


@pytest.mark.parametrize(
    "program",
    [
        "def f(x):\n    return x + 1\nassert f(1) == 7\n",
        "def f(x):\n    return x + 1\nprint(f('a'))\nn = int(input())\nfor n in range(n):\n    print(n)\n",
        "def f(x):\n    return x + 1\ndef main():\n    f(input())\nmain()\n",
        "def f(x):\n    return x + 1\nresult = f(None)\n",
        "def f(x: List[int]):\n    return floor(x) + 1\n\nfrom typing import List\nfrom math import floor\n",
        "TABLE = []\nfor n in range(9):\n    TABLE.append(n + 1)\ndef f(x):\n    return TABLE[x]\n",
        "TABLE = []\nTABLE.append(1)\ndef f(x):\n    return x + TABLE[0]\n",
        "from functools import lru_cache\ndef f(x):\n    return x + 1\nf = lru_cache(f)\nprint(f('a'))\n",
        "def f(x): return x + 1\nf(1); y = 3\n",
        "def f(x):\n    return x + 1\nprint(1); f('a')\ny = 2\n",
        "class Solution:\n    def add(self, x):\n        return x + 1\nf = Solution().add\nassert f(2) == 9\n",
        '"""f."""\nimport math\n@staticmethod\ndef f(x):\n    return x + 1\nassert (f(1) ==\n    7)\n',
        "try:\n    import none_such\nexcept ImportError:\n    none_such = None\n"
        "def f(x):\n    return x + (not none_such)\n",
    ],
)
def test_examples_do_not_run(program: str) -> None:
    assert ends_right(assemble(program, "f"))


def test_a_program_without_examples_is_left_as_it_is() -> None:
    for program in (ALONE, PROMPT + BODY, "import math\n" + ALONE):
        assert assemble(program, "f") == program


def test_what_is_not_needed_is_not_taken_from_other_fences() -> None:
    assert assemble(ALONE, "f", ["def g(x):\n    return x\n", "def f(x):\n    return 0\n"]) == ALONE


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_programs_are_what_evalplus_takes(benchmark_data: Path, name: str) -> None:
    """EvalPlus' sanitizer and ours read the same function from reference solutions, written as models write."""
    sanitize = pytest.importorskip("evalplus.sanitize").sanitize
    for record in rows(benchmark_data, f"{name}/test.jsonl")[::25]:
        (problem,) = [*asserts.prepare_mbpp([record])] if name == "mbpp" else [None]
        entry = problem.entry if problem else record["entry_point"]
        program = reference(record).replace("\r\n", "\n").strip("\n")
        inner = (
            f'def {entry}(*args):\n    """Do it.\n\n    {FENCE}\n    {entry}()\n    {FENCE}\n    """\n    return [1]'
        )
        for text in (program, inner):
            for output in (
                f"Sure:\n\n{FENCE}python\n{text}\n{FENCE}\n\nThat is all.",
                f"{FENCE}python\n{text}\n\nassert {entry}() == 'an example'\nprint({entry}(1, 2, 3))\n{FENCE}",
                f"{text}\n\nif __name__ == '__main__':\n    {entry}()\n",
            ):
                ours = find_program(output, entry, "")
                assert ours is not None
                assert ast.dump(last(ours, entry)) == ast.dump(last(sanitize(output, entry), entry))


def ends_right(program: str) -> bool:
    names: dict[str, Any] = {}
    exec(program, names)
    return names["f"](1) == 2


@pytest.mark.parametrize(
    "output",
    [
        "",
        "I cannot.",
        "def g(x):\n    return x\n",
        "f(1)",
        "```python\n```",
        "x = 'def f(x)'",
        "\0",
        "(" * 9999,
        "def g(f):\n    return f(1)\n",
    ],
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


RATIO = (
    "from decimal import Decimal\nfrom fractions import Fraction\n"
    "def f(x):\n    x = int(x)\n    return Decimal(x) + 1 if x % 2 else Fraction(2 * x + 2, 2)\n"
)


@pytest.mark.parametrize("record", [PLUS, CHECK, MBPP])
def test_fractions_and_decimals_that_equal_the_expected_number_are_right(record: dict[str, Any]) -> None:
    """They are right with the `==` of HumanEval's own tests."""
    wrong = RATIO.replace("2 * x + 2", "2 * x + 3").replace("Decimal(x) + 1", "Decimal(x) + Decimal('1.5')")
    assert [own[0].value for own in marks(record, RATIO, wrong)] == [1.0, 0.0]


@given(st.lists(st.tuples(st.floats(-10, 10), st.sampled_from([0, 1e-9, 1e-6, 2e-6, 1e-3, math.nan, math.inf]))))
def test_closeness_is_that_of_numpy(pairs: list[tuple[float, float]]) -> None:
    wanted, output = [a for a, _ in pairs], [a + b for a, b in pairs]
    for tolerance in (1e-6, 1e-3):
        same = bool(np.allclose(output, wanted, rtol=1e-07, atol=tolerance, equal_nan=True))
        assert outputs._close(output, wanted, tolerance) == same


def test_one_output_costs_the_others_nothing() -> None:
    """Deep values and floods of equal hashes stand between good programs, which are right."""
    hostile = [
        (Path(__file__).parents[1] / "sandbox" / "hostile" / f"{name}.py").read_text()
        for name in ("deep_tuple", "written_iterators", "written_flood", "half_pair_name", "forged_verdict")
    ]
    for record in (PLUS, CHECK):
        found = marks(record, ALONE, *hostile, ALONE)
        assert [own[0].value for own in found] == [1.0, *[0.0] * len(hostile), 1.0]
        assert {own[0].status for own in found[1:-1]} == {"error"}


# --- the budget of reading

CONTINUED = ALONE + "x = \\\n" * 12_000


def test_an_output_that_takes_too_long_to_read_is_an_error_of_its_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's parser takes minutes for it."""
    monkeypatch.setattr(reading, "SECONDS", 1)
    requests = [(ALONE, "f", ""), (CONTINUED, "f", ""), ("no idea", "f", ""), (ALONE, "f", "")]
    found = reading.read_programs(requests)
    assert [own.program is None for own in found] == [False, True, True, False]
    assert [own.reason for own in found] == ["", "too long to parse", "", ""]
    (own,) = marks(PLUS, CONTINUED)
    assert {(mark.value, mark.status) for mark in own} == {(0.0, "error")}
    assert own[0].reason.startswith("too long to parse")


def test_a_deep_tree_costs_only_its_own_item() -> None:
    texts = ["def f(x): return " + sign * 50_000 + "1" for sign in ("-", "(", "[", "lambda: ", "x.a")]
    found = reading.read_programs([*((text, "f", "") for text in texts), (ALONE, "f", "")])
    assert ends_right(found[-1].program or "")
    assert reading.read_programs([]) == []


def test_reading_is_the_same_in_the_other_process() -> None:
    texts = [ALONE, f"```python\n{ALONE}```", BODY, "no idea", "\ud800", "def f(x):\n  return '\u00e9\u2028'\n"]
    assert reading.read_programs([(text, "f", PROMPT) for text in texts]) == [extract(t, "f", PROMPT) for t in texts]


def test_a_row_names_that_there_was_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "trouble", lambda: "taken away by a test")
    for own in marks(PLUS, ALONE, "no idea", "def f(x):\n    return 0"):
        assert all("unsafe-code" in mark.reason for mark in own)
    monkeypatch.undo()
    if not sandbox.trouble():
        assert all("unsafe-code" not in mark.reason for own in marks(PLUS, ALONE) for mark in own)


def test_a_missing_module_is_an_error_and_no_wrong_answer() -> None:
    for record in (PLUS, CHECK, MBPP):
        for source in (f"import none_such.part\n{ALONE}", "def f(x):\n    from none_such import y\n    return y\n"):
            (own,) = marks(record, source)
            assert {(mark.value, mark.status) for mark in own} == {(0.0, "error")}
            assert own[0].reason.startswith("module: none_such is missing")
        (own,) = marks(record, f"try:\n    import none_such\nexcept ImportError:\n    pass\n{ALONE}")
        assert own[0].value == 1.0


def test_rows_say_how_the_program_was_found_and_what_was_offered() -> None:
    found = marks(PLUS, ALONE, f"```\n{ALONE}```", "no idea")
    assert [{mark.how for mark in own} for own in found] == [{"bare"}, {"fence"}, {"none"}]
    if sandbox.trouble():
        return
    assert all("offered: " in mark.reason for own in found for mark in own)


@pytest.mark.parametrize("package", ["numpy", "pandas", "scipy", "sympy"])
def test_a_program_may_use_a_package_that_is_offered(package: str) -> None:
    if sandbox.trouble() or package not in sandbox.offered():
        pytest.skip(f"{package} is not offered here")
    uses = {
        "numpy": "import numpy as np\ndef f(x):\n    return np.array([x])[0] + 1\n",
        "pandas": "import pandas as pd\ndef f(x):\n    return (pd.Series([x]) + 1)[0]\n",
        "scipy": "from scipy.special import comb\ndef f(x):\n    return comb(x + 1, 1, exact=True)\n",
        "sympy": "import sympy\ndef f(x):\n    return sympy.Integer(x) + 1\n",
    }
    for record in (PLUS, CHECK):
        (own,) = marks(record, uses[package])
        assert own[0].value == 1.0, own[0].reason


def mbpp_255(folder: Path) -> dict[str, Any]:
    (record,) = [row for row in rows(folder, "mbpp_plus/test.jsonl") if row["task_id"] == "Mbpp/255"]
    return record


def test_inputs_whose_results_are_too_large_are_left_out_unseen(
    benchmark_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mbpp/255: finding this out by running the reference takes minutes."""
    ran: list[sandbox.Program] = []

    def pretend(programs: Sequence[sandbox.Program]) -> list[sandbox.Result]:
        ran.extend(programs)
        ending = sandbox.Outcome("error")
        lines = ["".join(json.dumps(["ok", plain.encode(call)]) + "\n" for call in own.calls) for own in programs]
        return [sandbox.Result(text.encode(), text.count("\n"), ending) for text in lines]

    monkeypatch.setattr(plus, "run_references", pretend)
    record = mbpp_255(benchmark_data)
    (problem,) = plus.prepare([record])
    assert problem.note == "4 of 112 inputs left out (88, 89, 93, 103): the reference itself fails"
    (expected,) = problem.check.expected
    assert len(problem.calls) == expected.calls == len(ran[0].calls) == 108
    assert list(problem.calls) == [one.value for one in expected.outcomes]  # each input kept its own output
    other = {**record, "plus_input": record["plus_input"][:-1]}  # not the file that the list was made for
    assert plus.prepare([other])[0].note == ""


@pytest.mark.slow
def test_the_reference_of_mbpp_255_passes_within_a_minute(benchmark_data: Path) -> None:
    record = mbpp_255(benchmark_data)
    (own,) = marks(record, reference(record))
    assert [mark.value for mark in own] == [1.0, 1.0]
    assert "4 of 112 inputs left out (88, 89, 93, 103)" in own[0].reason
    (problem,) = code.prepare([record])
    assert problem.limits.cpu_seconds <= 60


def test_a_reference_that_fails_is_an_error_and_no_verdict() -> None:
    (own,) = marks({**PLUS, "canonical_solution": "    return 1 // 0\n"}, ALONE)
    assert [(mark.value, mark.status) for mark in own] == [(None, "error")] * 2
    assert "the reference itself fails" in own[0].reason
    (own,) = marks({**CHECK, "canonical_solution": "    return 0\n"}, ALONE)
    assert (own[0].value, own[0].status) == (None, "error")


def test_every_assertion_of_mbpp_can_be_cut(benchmark_data: Path) -> None:
    records = rows(benchmark_data, "mbpp/test.jsonl")
    problems = asserts.prepare_mbpp(records)
    assert [problem.task_id for problem in problems if problem.trouble] == []
    assert sum(len(record["test_list"]) for record in records) <= sum(len(problem.calls) for problem in problems)
    for problem in problems:
        (assertions,) = problem.check.arguments
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
