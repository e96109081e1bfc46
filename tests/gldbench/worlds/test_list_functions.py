"""List functions: answers against an independent interpreter, operations that commute, grading of hostile code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from gldbench.worlds.families import MARKER, Instance, list_functions
from gldbench.worlds.families.list_functions import _normal_form as normal_form
from gldbench.worlds.families.list_functions import _read as read_steps
from gldbench.worlds.families.list_functions import _spell as spell_steps

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
