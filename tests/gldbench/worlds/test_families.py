"""Every family: answers against checkers that share no code with the generators, canonical forms, spaces, chance."""

from __future__ import annotations

import ast
import functools
import math
import operator
import re
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gldbench.tasks import tasks_root
from gldbench.worlds.families import ANSWER_PATTERN, FAMILIES, MARKER, Instance, extract_answer

families = pytest.mark.parametrize("name", FAMILIES)


@functools.cache
def sample(name: str, count: int, difficulty: int = 1, seed: int = 0) -> list[Instance]:
    random = Random(seed)
    return [FAMILIES[name].generate(random, difficulty) for _ in range(count)]


# --- independent solvers: they read the prompt only -------------------------------------------------------------------


def solve_arithmetic(prompt: str) -> str:
    operators = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return operators[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant)
        assert isinstance(node.value, int)
        return node.value

    return str(value(ast.parse(prompt.removesuffix("="), mode="eval").body))


def solve_boolean(prompt: str) -> str:
    """By Python's integers: &, ^ and | bind as and, xor and or do here."""
    symbols = {"T": "1", "F": "0", "and": "&", "xor": "^", "or": "|"}
    text = re.sub(r"\w+", lambda word: symbols[word[0]], prompt.removesuffix("="))
    operators = {ast.BitAnd: operator.and_, ast.BitXor: operator.xor, ast.BitOr: operator.or_}

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return operators[type(node.op)](value(node.left), value(node.right))
        return ast.literal_eval(node)

    return "FT"[value(ast.parse(text, mode="eval").body)]


def solve_dyck(prompt: str) -> str:
    partner = dict(zip("([{<", ")]}>", strict=True))
    waiting: list[str] = []
    for bracket in prompt.split()[1]:
        if bracket in partner:
            waiting.append(partner[bracket])
        else:
            assert waiting.pop() == bracket
    return "".join(waiting[::-1])


def solve_tracking(prompt: str) -> str:
    opening, swaps, question = prompt.split(". ")
    held = dict(part.split() for part in opening.split(", "))
    for swap in swaps.split(", "):
        first, second = swap.split("-")
        held[first], held[second] = held[second], held[first]
    return held[question.removesuffix("?")]


KIND_OF = {
    **dict.fromkeys(["cat", "cow", "dog", "pig"], "animals"),
    **dict.fromkeys(["apple", "kiwi", "pear", "plum"], "fruits"),
    **dict.fromkeys(["drill", "nail", "rake", "saw"], "tools"),
    **dict.fromkeys(["belt", "coat", "shoe", "sock"], "clothes"),
}


def solve_counting(prompt: str) -> str:
    asked, listed = prompt.removesuffix("?").split(" in ")
    pairs = [item.split() for item in listed.split(", ")]
    return str(sum(int(n) for n, noun in pairs if KIND_OF.get(noun, KIND_OF.get(noun.removesuffix("s"))) == asked))


def solve_causal(prompt: str) -> str:
    """Brute force: solves the equations for both values of the named variable."""
    asked, *equations = prompt.removeprefix("but for ").split()
    clauses = dict(part.split("=") for part in equations)
    joins = {"&": min, "|": max, "^": lambda pair: sum(pair) % 2}

    def solve(variable: str, forced: int) -> int:
        name, value = variable[0], variable[1:]
        if name == asked[0]:
            return forced
        if value:
            return int(value)
        left, symbol, right = re.split(r"([&|^])", clauses[name])
        return joins[symbol]([solve(left, forced), solve(right, forced)])

    outcome = equations[-1][0]
    return "yes" if solve(outcome, 0) != solve(outcome, 1) else "no"


SOLVERS: dict[str, Callable[[str], str]] = {
    "multistep_arithmetic": solve_arithmetic,
    "boolean_expressions": solve_boolean,
    "dyck_languages": solve_dyck,
    "tracking_shuffled_objects": solve_tracking,
    "object_counting": solve_counting,
    "causal_judgement": solve_causal,
}
seeds, difficulties = st.integers(0, 2**32), st.sampled_from((1, 2))


@pytest.mark.parametrize("name", SOLVERS)
@settings(max_examples=150, deadline=None)
@given(seed=seeds, difficulty=difficulties)
def test_answer_agrees_with_an_independent_solver(name: str, seed: int, difficulty: int) -> None:
    instance = FAMILIES[name].generate(Random(seed), difficulty)
    assert instance.answer == SOLVERS[name](instance.prompt)


def test_independent_solvers_on_problems_solved_by_hand() -> None:
    assert solve_arithmetic("((7-9)*3)+8=") == "2"
    assert solve_boolean("(T or F and F) xor (F xor T and F) or (F or F)=") == "T"
    assert solve_boolean("(T) or (T) xor (T)=") == "T"
    assert solve_dyck("close ([]{<") == ">})"
    assert solve_tracking("A cup, B hat, C pen. A-B, B-C. C?") == "cup"
    assert solve_counting("animals in 2 dogs, 4 saws, 3 cats?") == "5"
    assert solve_causal("but for X: G=A1|X0 H=G^B1") == "no"
    assert solve_causal("but for X: G=A0|X0 H=G^X1") == "no"
    assert solve_causal("but for X: G=A0|X0 H=G&B1") == "yes"


# --- contract of every family -----------------------------------------------------------------------------------------


@families
@settings(max_examples=50, deadline=None)
@given(seed=seeds, difficulty=difficulties)
def test_instance_is_well_formed(name: str, seed: int, difficulty: int) -> None:
    instance = FAMILIES[name].generate(Random(seed), difficulty)
    assert instance == FAMILIES[name].generate(Random(seed), difficulty)
    assert (instance.family, instance.difficulty) == (name, difficulty)
    assert MARKER not in instance.prompt + instance.rationale + instance.answer
    assert "\n" not in instance.prompt + instance.response
    assert extract_answer(instance.response) == instance.answer
    assert instance.answer == instance.answer.strip()
    assert len(instance.prompt) <= (100 if difficulty == 1 else 140)


@families
def test_check_takes_the_right_response_and_refuses_others(name: str) -> None:
    family = FAMILIES[name]
    first, *others = sample(name, 40)
    other = next(one for one in others if not family.agrees(first, one))
    assert family.check(first, first.response)
    assert family.check(first, f"{MARKER} nonsense {MARKER}  {first.answer}  ")
    assert not family.check(first, other.response)
    assert not family.check(first, f"{first.response}\n{other.response}")
    assert not family.check(first, first.answer.join("()"))
    assert not family.check(first, "")
    assert not family.check(first, MARKER)


@families
def test_agrees_says_what_check_says(name: str) -> None:
    family = FAMILIES[name]
    instances = sample(name, 12)
    for instance, other in zip(instances, [instances[0], *instances[:-1]], strict=True):
        assert family.agrees(instance, other) == family.check(instance, other.response)


@families
def test_harder_is_longer(name: str) -> None:
    easy, hard = ([len(i.prompt) for i in sample(name, 200, difficulty)] for difficulty in (1, 2))
    assert sum(hard) > 1.15 * sum(easy)


@families
def test_space_by_duplicates(name: str) -> None:
    """Birthday estimate: of n draws, n(n-1)/2/space pairs coincide on average, or fewer; half the space is refused."""
    count = 10_000
    tally = Counter(instance.canonical for instance in sample(name, count))
    pairs = sum(n * (n - 1) // 2 for n in tally.values())
    expected = count * (count - 1) / 2 / FAMILIES[name].space
    assert FAMILIES[name].space >= 800_000
    assert pairs <= expected + 4 * math.sqrt(expected) < 2 * expected + 20


@families
def test_chance_is_the_best_guess(name: str) -> None:
    """No constant answer scores more than the stated chance; where options are named, a pick among them scores it."""
    count = 4_000
    shares = Counter(instance.answer for instance in sample(name, count, seed=1))
    best = shares.most_common(1)[0][1] / count
    chance = FAMILIES[name].chance
    assert best <= chance + 3 * math.sqrt(max(chance, 1e-3) / count)
    if name != "tracking_shuffled_objects":
        assert best >= chance - 3 * math.sqrt(chance / count)


@families
def test_task_file_matches_its_family(name: str) -> None:
    task = yaml.safe_load((tasks_root() / f"world_{name}" / "task.yaml").read_text())
    family = FAMILIES[name]
    assert task["name"] == f"world_{name}"
    assert task["dataset"]["family"] == name
    assert task["answer_pattern"] == ANSWER_PATTERN
    assert task["chance"] == pytest.approx(family.chance, rel=1e-3)
    assert (task["title"], task["citation"]) == (family.title, family.citation)


# --- canonical forms: equal for spellings of one problem, different for different problems ----------------------------


@families
def test_one_canonical_form_has_one_answer(name: str) -> None:
    """Instances that are the same problem agree with each other."""
    first: dict[str, Instance] = {}
    for instance in sample(name, 10_000):
        twin = first.setdefault(instance.canonical, instance)
        if name != "dyck_languages":  # its kinds of brackets are renamed, in the answer too
            assert FAMILIES[name].agrees(twin, instance)


@pytest.mark.parametrize("name", ["multistep_arithmetic", "boolean_expressions", "dyck_languages", "causal_judgement"])
def test_spellings_share_a_canonical_form(name: str) -> None:
    """In a large sample some problems come in two spellings; a canonical form that is the string would merge none."""
    spellings: dict[str, set[str]] = {}
    for instance in sample(name, 10_000):
        spellings.setdefault(instance.canonical, set()).add(instance.prompt)
    assert any(len(prompts) > 1 for prompts in spellings.values())
