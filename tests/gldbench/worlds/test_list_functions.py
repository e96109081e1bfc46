"""List functions: answers against an independent interpreter, operations that commute, grading of hostile code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gldbench import sandbox
from gldbench.sandbox import Outcome, launch
from gldbench.sandbox.functions import Function, run_functions
from gldbench.worlds.families import MARKER, Instance, list_functions
from gldbench.worlds.families.list_functions import _normal_form as normal_form
from gldbench.worlds.families.list_functions import _read as read_steps
from gldbench.worlds.families.list_functions import _spell as spell_steps
from gldfusion.errors import InputError

seeds, difficulties = st.integers(0, 2**32), st.sampled_from((1, 2))


def sample(count: int) -> list[Instance]:
    random = Random(0)
    return [list_functions.generate(random, 1) for _ in range(count)]


def interpret(prompt: str, values: list[int]) -> list[int]:
    """What the described operations make of the values, by loops over them."""
    for step in prompt.removeprefix("f: ").split(", "):
        word, number = step.split()[0], int(([*step.split(), "0"])[1])
        result: list[int] = []
        for place, value in enumerate(values):
            if word in ("add", "minus", "times"):
                result.append({"add": value + number, "minus": value - number, "times": value * number}[word])
            elif word in ("over", "under", "take", "drop", "every"):
                keep = {
                    "over": value > number,
                    "under": value < number,
                    "take": place < number,
                    "drop": place >= number,
                    "every": word == "every" and place % max(number, 1) == 0,
                }
                result += [value] * keep[word]
            elif word == "reverse":
                result.insert(0, value)
            else:
                result.insert(sum(other <= value for other in result), value)
        values = result
    return values


def test_interpreter_on_a_case_solved_by_hand() -> None:
    assert interpret("f: take 2, add 3, reverse", [1, 2, 3]) == [5, 4]
    assert interpret("f: every 2, sort, over 1", [4, 9, 1, 9, 3]) == [3, 4]


@settings(max_examples=150, deadline=None)
@given(seed=seeds, difficulty=difficulties)
def test_list_function_answers_agree_with_an_independent_interpreter(seed: int, difficulty: int) -> None:
    instance = list_functions.generate(Random(seed), difficulty)
    names: dict[str, Callable[[list[int]], list[int]]] = {}
    exec(instance.answer, names)  # our own code: no model wrote it
    assert len(instance.tests) == 4
    for values, expected in instance.tests:
        assert interpret(instance.prompt, values) == expected == names["f"](list(values))


@settings(max_examples=200, deadline=None)
@given(seed=seeds, difficulty=difficulties, permutation_seed=seeds)
def test_list_operations_that_commute_give_one_form_and_one_function(
    seed: int, difficulty: int, permutation_seed: int
) -> None:
    """Same canonical form of a reordered program: same outputs on every test. That is what `_commute` claims."""
    instance = list_functions.generate(Random(seed), difficulty)
    steps = read_steps(instance.prompt)
    shuffled = tuple(Random(permutation_seed).sample(steps, len(steps)))
    reordered = replace(instance, prompt=spell_steps(shuffled))
    if normal_form(shuffled) == normal_form(steps):
        assert all(interpret(reordered.prompt, values) == expected for values, expected in instance.tests)
    assert spell_steps(normal_form(steps)) == instance.canonical


def test_wrong_thresholds_fail_the_tests_of_a_list_function() -> None:
    """A threshold that is off by one is found for most instances: the tests hold values at the edge."""
    caught = total = 0
    for instance in sample(300):
        steps = read_steps(instance.prompt)
        for place, (word, number) in enumerate(steps):
            if word in ("over", "under") and number < 99:
                wrong = (*steps[:place], (word, number + 1), *steps[place + 1 :])
                other = replace(instance, prompt="f: " + spell_steps(wrong))
                caught += not list_functions.agrees(instance, other)
                total += 1
    assert caught > 0.8 * total


def test_hostile_list_function_is_graded_wrong() -> None:
    """An object that equals everything never reaches the comparison: only JSON leaves the candidate's process."""
    instance = sample(1)[0]
    assert not list_functions.check(instance, f'{MARKER} lambda x: type("A", (list,), {{"__eq__": lambda s, o: 1}})()')
    assert not list_functions.check(instance, f"{MARKER} lambda x: True")


HOSTILE = {
    "file": "lambda x: open('@MARKER@', 'w').write('a')",
    "process": "def f(x):\n import os\n return os.fork()",
    "network": "def f(x):\n import socket\n return socket.create_connection(('127.0.0.1', 1)) is None",
    "host": "def f(x):\n import os\n return os.listdir('/root') + os.listdir('/proc')",
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_function_reaches_nothing_of_the_host(name: str, tmp_path: Path) -> None:
    if reason := sandbox.trouble():
        pytest.skip(f"no sandbox: {reason}")
    tmp_path.chmod(0o777)
    source = HOSTILE[name].replace("@MARKER@", str(tmp_path / "written"))
    (outcome,) = run_functions([Function(source, "f", (([1], [2]),))])
    assert outcome.status == "error"
    assert list(tmp_path.iterdir()) == []


def test_without_a_sandbox_functions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "trouble", lambda: "taken away by a test")
    function = Function("lambda x: x + 1", "f", ((1, 2), (3, 4)))
    with pytest.raises(InputError, match="--unsafe-code"):
        run_functions([function])
    with sandbox.unsafe_code_allowed():
        assert run_functions([function]) == [Outcome("ok", 0)]


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        ("lambda x: x + 1", "ok", 0),
        ("# next\ndef f(x): return x + 1", "ok", 0),
        ("lambda x: x + 1.0", "ok", 2),
        ("lambda x: x == 1", "ok", 2),
        ("lambda x: 2", "ok", 1),
        ("lambda x", "error", "SyntaxError"),
        ("", "error", "NotOneFunctionError"),
        ("def f(x): return 1\nf(2)", "error", "NotOneFunctionError"),
        ("def g(x): return 1", "error", "OtherNameError"),
        ("(" * 3000, "error", "defining the program raised"),
        ("1" * 4001, "error", "longer than 4000 characters"),
        ("lambda x: {1}", "error", "TypeError"),
        ("lambda x: float('nan')", "error", "ValueError"),
        ("lambda x: 'a' * 10**6", "error", "returned more than"),
        ("def f(x):\n while True: pass", "timeout", "processor time"),
    ],
)
def test_functions_are_compared_by_their_json(source: str, status: str, words: str | int) -> None:
    with sandbox.unsafe_code_allowed():
        (outcome,) = run_functions([Function(source, "f", ((1, 2), (3, 4)))])
    assert outcome.status == status
    assert outcome.value == words if status == "ok" else str(words) in outcome.reason
