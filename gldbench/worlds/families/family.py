"""Types and helpers of all task families of the embedded world, and the format of a response."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

MARKER = "#"
"""separates the rationale from the answer; no prompt, rationale or answer contains it"""

ANSWER_PATTERN = r"# *([^#\n]*[^#\n ])"
"""group 1 is the answer without surrounding spaces; the last match in a response counts"""


@dataclass(frozen=True)
class Instance:
    """One problem with its answer."""

    family: str
    difficulty: int
    prompt: str
    rationale: str
    """the steps that lead to the answer; empty in some families"""
    answer: str
    canonical: str
    """equal for two instances that are the same problem in different spelling; the docstring of each family says which
    differences are spelling"""
    tests: tuple[tuple[Any, Any], ...] = ()
    """(input, expected output) pairs, if the answer is code"""
    id: str = ""
    """"<family>/<set>/<index>" once the instance belongs to a set"""

    @property
    def response(self) -> str:
        """Rationale, marker and answer: the text that a model is trained to write."""
        return f"{self.rationale} {MARKER} {self.answer}" if self.rationale else f"{MARKER} {self.answer}"


@dataclass(frozen=True)
class Family:
    """A generator of problems and a checker of answers."""

    name: str
    title: str
    citation: str
    chance: float
    """score of the best guess without solving the problem: a constant, or one of the options in the prompt"""
    space: int
    """effective number of canonical forms at difficulty 1: two draws are equal with probability 1 / space. The
    number is estimated from coincidences among 200,000 draws, rounded down, and never more than the exact number"""
    generate: Callable[[Random, int], Instance]
    """(random source, difficulty 1 or 2) -> an instance"""
    check: Callable[[Instance, str], bool]
    """(instance, whole response of a model) -> whether the answer is right"""
    agrees: Callable[[Instance, Instance], bool]
    """(instance, other) -> whether the answer of `other` is right for `instance` too; runs no code from an answer"""
    parts: tuple[str, ...] = ()
    """names of the parts of the family, which need different knowledge; a model can be trained on some of them only"""
    part: Callable[[Instance], str] | None = None
    """instance -> the part that it belongs to; None: the family has no parts"""
    programs: bool = False
    """whether the answers are programs, which are run in the sandbox"""


def extract_answer(response: str) -> str | None:
    """The text after the last marker that is followed by text, or None."""
    found = re.findall(ANSWER_PATTERN, response)
    return found[-1] if found else None


def normalise(answer: str) -> str:
    """Removes what exact match ignores: upper case and white space."""
    return "".join(answer.lower().split())


def check_exact(instance: Instance, response: str) -> bool:
    """Whether the answer in `response` equals that of the instance after `normalise`."""
    answer = extract_answer(response)
    return answer is not None and normalise(answer) == normalise(instance.answer)


def same_answer(instance: Instance, other: Instance) -> bool:
    """`Family.agrees` for families that are graded by exact match."""
    return normalise(instance.answer) == normalise(other.answer)


def pick(values: Sequence[T], difficulty: int) -> T:
    """The entry of `values` for `difficulty`: the first for 1, the second for 2."""
    return values[difficulty - 1]
