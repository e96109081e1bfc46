"""What a judge takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gldbench.grade.cues import How
from gldbench.schema import Item, Status, Task

PATTERN_METRIC = "exact_match"
"""metric of the answers that a task's patterns find"""
ANSWER = "answer"
"""filter of the answer that `answers.find` finds"""
BASE = "base"
"""filter of the benchmark's own tests alone, where the headline is all tests of a "+" benchmark"""
LENIENT = "lenient"
"""filter under which a last number, option or line counts as the answer too: the upper end of a score's bracket"""


@dataclass(frozen=True)
class Mark:
    """The score of one output under one filter."""

    filter: str
    metric: str
    value: float | None
    """in [0, 1]; None where the item itself prevents a grade (`grade.grader.Grade.value`)"""
    answered: bool
    """whether an answer was found in the output"""
    reason: str = ""
    status: Status | None = None
    """"ok", "timeout" or "error", where the judge knows it from running code. None: the status follows from `answered`
    and from whether the output was cut off"""
    part: str = ""
    """which part of the item is marked (an instruction of an IFEval prompt), where the metric is a mean over parts"""
    how: How = "none"
    """how the answer was found"""
    found: str = ""
    """the answer as the output writes it"""


@dataclass(frozen=True)
class NormalForm:
    """A form in which two answers that mean the same are equal."""

    normalise: Callable[[str], Any]
    """for our grader: text of an answer -> a value that is compared with `==`"""
    ignore: tuple[str, ...] = ()
    """for lm-eval: it removes these expressions from both answers, one after the other, and ignores case"""


@dataclass(frozen=True)
class Judge:
    """A way to compare the answers in outputs with the gold answers."""

    judge: Callable[[Task, Sequence[Item], Sequence[str]], list[list[Mark]]]
    """(task, items, their outputs in the same order) -> the marks of each item, with the same filters for every item"""
    form: NormalForm | None = None
    """where the task's patterns find the answers: the form in which this judge compares them"""
