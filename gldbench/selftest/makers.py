"""Which cases belong to which benchmark: `MAKERS`, by the scorer of its task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gldbench.sandbox import trouble
from gldbench.schema import Item
from gldbench.selftest import (
    choices,
    instructions,
    likelihoods,
    mathematics,
    numbers,
    passages,
    programs,
    short_answers,
    theorems,
)
from gldbench.selftest.cases import CaseMaker

ITEMS = 40


def nothing() -> str:
    """Nothing is missing."""
    return ""


def every(item: Item) -> bool:
    """Cases can be made for every item."""
    return True


@dataclass(frozen=True)
class Maker:
    """How the cases of a kind of benchmark are made."""

    cases: CaseMaker
    items: int = ITEMS
    """at most so many items, where a case is dear"""
    keeps: Callable[[Item], bool] = every
    """the items that cases can be made for"""
    needs: Callable[[], str] = nothing
    """what this machine lacks to grade them, and the fix; "" where it lacks nothing"""


MAKERS: dict[str, Maker] = {
    "choice": Maker(choices.cases),
    "code": Maker(programs.cases, 8, needs=trouble),
    "drop": Maker(passages.cases, 60),
    "ifeval": Maker(instructions.cases, 60, keeps=instructions.is_built),
    "loglikelihood": Maker(likelihoods.cases, 20),
    "math": Maker(mathematics.cases, 20),
    "number": Maker(numbers.cases),
    "short_answer": Maker(short_answers.cases, 54),
    "theoremqa": Maker(theorems.cases, 60),
}
