"""What the pages of items show: an item, the answers of its sides, and the marks that graders gave them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gldfusion.errors import InputError

NO_ANSWER = ("no_answer", "truncated")
"""statuses of a grade for which the output held no answer"""


@dataclass(frozen=True)
class Mark:
    """What one grader found and judged under one filter and metric."""

    grader: str
    filter: str
    metric: str
    part: str
    """which part of the item is judged (an instruction of IFEval); empty: the whole item"""
    value: float | None
    status: str
    how: str
    found: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """The response of one side to one item, with its grades."""

    output: str | None
    """None: no response can be shown, and `note` says why"""
    note: str
    headline: Mark | None
    """the grade that decides whether the answer is right; None: this side has no such grade"""
    marks: tuple[Mark, ...]

    @property
    def right(self) -> bool | None:
        """Whether the headline gives the full score; None if there is no headline, or it has no value."""
        return None if self.headline is None or self.headline.value is None else self.headline.value >= 1.0

    @property
    def answered(self) -> bool:
        """Whether the grader of the headline found an answer."""
        return self.headline is None or self.headline.status not in NO_ANSWER


@dataclass(frozen=True)
class ItemView:
    """One item as all sides answered it."""

    task: str
    variant: str
    item: str
    cluster: str
    prompt: str
    gold: str
    answers: tuple[Answer | None, ...]
    """one for each side, in their order; None: the side was not asked this item"""


@dataclass(frozen=True)
class Items:
    """The items of one or more sides."""

    sides: tuple[str, ...]
    items: tuple[ItemView, ...]


def chosen(items: Items, *, differ: bool = False, wrong: bool = False, no_answer: bool = False) -> Items:
    """Keeps the items that meet all the given conditions.

    Args:
        items: the items.
        differ: both sides have a score, and the scores differ.
        wrong: some side has less than the full score.
        no_answer: the grader found no answer in the response of some side.

    Raises:
        InputError: `differ` is asked of fewer than two sides.
    """
    if differ and len(items.sides) < 2:
        raise InputError("--differ compares two checkpoints, got one\ngive a second OUT:CHECKPOINT, or use --wrong")

    def keep(view: ItemView) -> bool:
        own = [answer for answer in view.answers if answer is not None]
        marks = [answer.headline for answer in own if answer.headline is not None]
        values = {mark.value for mark in marks if mark.value is not None}
        return (
            (not differ or len(values) > 1)
            and (not wrong or any(answer.right is False for answer in own))
            and (not no_answer or any(not answer.answered for answer in own))
        )

    return dataclasses.replace(items, items=tuple(view for view in items.items if keep(view)))


def as_json(view: ItemView, sides: Sequence[str]) -> dict[str, Any]:
    """One item as JSON types. A side that was not asked the item is absent."""
    return {
        **{name: getattr(view, name) for name in ("task", "variant", "item", "cluster", "prompt", "gold")},
        "sides": [
            {
                "side": side,
                "output": answer.output,
                **({"note": answer.note} if answer.note else {}),
                "right": answer.right,
                "grades": [dataclasses.asdict(mark) for mark in answer.marks],
            }
            for side, answer in zip(sides, view.answers, strict=True)
            if answer is not None
        ],
    }


def several_graders(items: Items) -> bool:
    """Whether any response has the grades of two graders."""
    return any(len({mark.grader for mark in one.marks}) > 1 for view in items.items for one in view.answers if one)
