"""List functions as code: the prompt describes list operations, the answer is a one-line Python function.

An answer is graded by running the function on the tests of the instance, in the sandbox.
Canonical form: the first of all orders of the operations that are reachable by exchanging neighbours that commute (see
`_commute`). Difficulty 1 has two operations on values and one on positions, all of different kinds.
Space at difficulty 1: the pairs of value operations have 94,545 forms (198 shifts, 8 scales, 99 and 99 filters; only
the filters commute). With 13 operations on positions this gives at least 1,229,085 forms, and more because the order of
a filter and a cut can matter.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from gldbench.sandbox.functions import Function, run_functions
from gldbench.worlds.families.family import Family, Instance, extract_answer, pick

NAME = "list_functions"
ENTRY = "f"
POSITIONAL = (1, 2)
LIST_LENGTH = 8


class _Operation(NamedTuple):
    kind: str
    """an instance has at most one operation of each kind, because two shifts equal one shift"""
    numbers: tuple[int, ...]
    """values of its parameter; empty if it has none"""
    code: str
    apply: Callable[[list[int], int], list[int]]


_FIGURES = tuple(range(1, 100))
OPERATIONS = {
    "add": _Operation("shift", _FIGURES, "[v+{n} for v in x]", lambda x, n: [v + n for v in x]),
    "minus": _Operation("shift", _FIGURES, "[v-{n} for v in x]", lambda x, n: [v - n for v in x]),
    "times": _Operation("scale", tuple(range(2, 10)), "[v*{n} for v in x]", lambda x, n: [v * n for v in x]),
    "over": _Operation("over", _FIGURES, "[v for v in x if v>{n}]", lambda x, n: [v for v in x if v > n]),
    "under": _Operation("under", _FIGURES, "[v for v in x if v<{n}]", lambda x, n: [v for v in x if v < n]),
    "take": _Operation("take", (2, 3, 4, 5, 6), "x[:{n}]", lambda x, n: x[:n]),
    "drop": _Operation("drop", (1, 2, 3, 4), "x[{n}:]", lambda x, n: x[n:]),
    "every": _Operation("every", (2, 3), "x[::{n}]", lambda x, n: x[::n]),
    "reverse": _Operation("reverse", (), "x[::-1]", lambda x, n: x[::-1]),
    "sort": _Operation("sort", (), "sorted(x)", lambda x, n: sorted(x)),
}
# operations with few parameters are drawn less often, so that the instances spread evenly over the space
_ON_VALUES = (*("add", "minus", "over", "under") * 6, "times")
_ON_POSITIONS = (*("take", "drop") * 3, "every", "reverse", "sort")
_MAPS, _FILTERS = {"shift", "scale"}, {"over", "under"}

Step = tuple[str, int]
"""the word of an operation and its parameter (0 if it has none)"""


def _commute(first: str, second: str) -> bool:
    """Whether operations of two different kinds give the same list in both orders (all maps here are increasing)."""
    kinds = {first, second}
    if kinds <= _FILTERS:
        return True
    if kinds & {"reverse", "sort"} and kinds & (_MAPS | _FILTERS):
        return True
    return bool(kinds & _MAPS) and bool(kinds & {"take", "drop", "every"})


def _normal_form(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    left, ordered = list(steps), []
    while left:
        kinds = [OPERATIONS[word].kind for word, _ in left]
        free = [i for i, kind in enumerate(kinds) if all(_commute(kind, earlier) for earlier in kinds[:i])]
        ordered.append(left.pop(min(free, key=left.__getitem__)))
    return tuple(ordered)


def _draw(random: Random, difficulty: int) -> tuple[Step, ...]:
    while True:
        on_positions = random.sample(_ON_POSITIONS, pick(POSITIONAL, difficulty))
        words = [*random.sample(_ON_VALUES, 2), *on_positions]
        if len({OPERATIONS[word].kind for word in words}) == len(words):
            break
    random.shuffle(words)
    return tuple((word, random.choice(OPERATIONS[word].numbers) if OPERATIONS[word].numbers else 0) for word in words)


def run(steps: tuple[Step, ...], values: list[int]) -> list[int]:
    """Applies the operations to `values`."""
    for word, number in steps:
        values = OPERATIONS[word].apply(values, number)
    return values


def _edges(steps: tuple[Step, ...]) -> list[int]:
    """Input values that just pass or just fail each "over" and "under". With a wrong threshold the result differs."""
    scale, shift, edges = 1, 0, []
    for word, number in steps:
        if word == "times":
            scale, shift = scale * number, shift * number
        elif word in ("add", "minus"):
            shift += number if word == "add" else -number
        elif word in ("over", "under"):
            edge = (number - shift) // scale
            edges += [edge - 1, edge, edge + 1]
    return edges


def _tests(random: Random, steps: tuple[Step, ...]) -> tuple[tuple[list[int], list[int]], ...] | None:
    """Makes four lists with their results, or None if a constant or the identity would pass them."""
    edges = _edges(steps)
    tests = []
    for place in (None, None, "front", "back"):
        values = [random.randrange(100) for _ in range(LIST_LENGTH)]
        if place == "front":
            values = (random.sample(edges, len(edges)) + values)[:LIST_LENGTH]
        elif place == "back":
            values = (values + random.sample(edges, len(edges)))[-LIST_LENGTH:]
        tests.append((values, run(steps, values)))
    results = {tuple(result) for _, result in tests if result}
    if len(results) < 2 or any(values == result for values, result in tests):
        return None
    return tuple(tests)


def generate(random: Random, difficulty: int) -> Instance:
    """Draws two operations on values and one (difficulty 1) or two on positions, in any order; no rationale."""
    steps = _draw(random, difficulty)
    while (tests := _tests(random, steps)) is None:
        steps = _draw(random, difficulty)
    body = ";".join("x=" + OPERATIONS[word].code.format(n=number) for word, number in steps)
    return Instance(
        family=NAME,
        difficulty=difficulty,
        prompt="f: " + _spell(steps),
        rationale="",
        answer=f"def {ENTRY}(x):{body};return x",
        canonical=_spell(_normal_form(steps)),
        tests=tests,
    )


def _spell(steps: tuple[Step, ...]) -> str:
    return ", ".join(f"{word} {number}" if number else word for word, number in steps)


def _read(prompt: str) -> tuple[Step, ...]:
    """Parses the steps of a prompt that `generate` wrote."""
    words = [part.split() for part in prompt.removeprefix("f: ").split(", ")]
    return tuple((word, int(number[0]) if number else 0) for word, *number in words)


def check(instance: Instance, response: str) -> bool:
    """Runs the answer on the tests in the sandbox."""
    source = extract_answer(response)
    if source is None:
        return False
    (outcome,) = run_functions([Function(source, ENTRY, instance.tests)])
    return outcome.status == "ok" and outcome.value == 0


def agrees(instance: Instance, other: Instance) -> bool:
    """Whether the operations of the other prompt pass the tests of this instance. Runs no code from an answer."""
    steps = _read(other.prompt)
    return all(run(steps, values) == expected for values, expected in instance.tests)


FAMILY = Family(
    name=NAME,
    title="List functions: write the described Python function",
    citation="after BIG-Bench list_functions (Srivastava et al., 2022, arXiv:2206.04615); "
    "Rule (2020), The child as hacker, MIT thesis",
    chance=0.0,
    space=1_000_000,
    generate=generate,
    check=check,
    agrees=agrees,
    parts=tuple(dict.fromkeys(_ON_POSITIONS)),
    part=lambda instance: next(word for word, _ in _read(instance.prompt) if word in _ON_POSITIONS),
    programs=True,
)
