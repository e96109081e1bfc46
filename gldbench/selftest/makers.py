"""`MAKERS`: how cases are made for a benchmark. The task's key `scorer` selects the maker."""

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
"""default number of items from which cases are made"""


def nothing() -> str:
    """No text: nothing is missing on this machine."""
    return ""


def every(item: Item) -> bool:
    """True: cases can be made for every item."""
    return True


@dataclass(frozen=True)
class Maker:
    """How cases are made for one kind of benchmark."""

    cases: CaseMaker
    items: int = ITEMS
    """cases are made from at most so many items"""
    keeps: Callable[[Item], bool] = every
    """whether cases can be made for an item"""
    needs: Callable[[], str] = nothing
    """what is missing on this machine to grade the cases, and how to fix that; "" where nothing is missing"""


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
