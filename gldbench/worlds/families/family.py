"""What every task family of the embedded world shares: its data and the one format of a response."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

MARKER = "#"
"""Separates the rationale from the answer. No prompt, rationale or answer contains it."""

ANSWER_PATTERN = r"# *([^#\n]*[^#\n ])"
"""Group 1 is the answer, without the spaces around it. The last match of a response counts."""


@dataclass(frozen=True)
class Instance:
    """One problem with its answer."""

    family: str
    difficulty: int
    prompt: str
    rationale: str
    """the steps that lead to the answer; may be empty"""
    answer: str
    canonical: str
    """equal for two instances that are the same problem, spelled differently; each family says what counts as
    spelling"""
    tests: tuple[tuple[Any, Any], ...] = ()
    """(input, expected output) pairs, of families whose answer is code"""
    id: str = ""
    """"<family>/<set>/<index>" once the instance belongs to a set"""

    @property
    def response(self) -> str:
        """Rationale, marker and answer, as a model is trained to write them."""
        return f"{self.rationale} {MARKER} {self.answer}" if self.rationale else f"{MARKER} {self.answer}"


@dataclass(frozen=True)
class Family:
    """A generator of problems and the checker of their answers."""

    name: str
    title: str
    citation: str
    chance: float
    """score of the best guess made without solving: a constant, or one of the options that the prompt names"""
    space: int
    """effective number of canonical forms at difficulty 1: one pair of draws in this many coincides (the birthday
    estimate of 200,000 draws, rounded down); never more than the exact count"""
    generate: Callable[[Random, int], Instance]
    """(random source, difficulty 1 or 2) -> an instance"""
    check: Callable[[Instance, str], bool]
    """(instance, a model's whole response) -> is its answer right"""
    agrees: Callable[[Instance, Instance], bool]
    """(instance, other): is the other's own answer right for the instance too; runs no foreign code"""


def extract_answer(response: str) -> str | None:
    """The text after the last marker that has any, or None."""
    found = re.findall(ANSWER_PATTERN, response)
    return found[-1] if found else None


def normalise(answer: str) -> str:
    """Lower case, without white space: what exact match ignores."""
    return "".join(answer.lower().split())


def check_exact(instance: Instance, response: str) -> bool:
    """Exact match of the extracted answer after `normalise`."""
    answer = extract_answer(response)
    return answer is not None and normalise(answer) == normalise(instance.answer)


def same_answer(instance: Instance, other: Instance) -> bool:
    """`Family.agrees` of the families that are graded by exact match."""
    return normalise(instance.answer) == normalise(other.answer)


def pick(values: Sequence[T], difficulty: int) -> T:
    """The entry of `values` for `difficulty` (1 is the first)."""
    return values[difficulty - 1]
