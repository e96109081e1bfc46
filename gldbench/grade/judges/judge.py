"""What a judge takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gldbench.schema import Item, Status, Task


@dataclass(frozen=True)
class Mark:
    """One output's score under one filter."""

    filter: str
    metric: str
    value: float
    """in [0, 1]"""
    answered: bool
    """an answer was found in the output"""
    reason: str = ""
    status: Status | None = None
    """where the judge knows better than "ok", "no_answer" and "truncated": "timeout" or "error" of code"""
    part: str = ""
    """which part of the item is marked, where a metric is a mean over parts: an instruction of a prompt"""


@dataclass(frozen=True)
class Judge:
    """A way to score whole outputs of a benchmark."""

    citation: str
    judge: Callable[[Task, Sequence[Item], Sequence[str]], list[list[Mark]]]
    """(task, items, their outputs in the same order) -> the marks of each item; same filters for every item"""
