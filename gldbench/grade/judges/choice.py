"""The judge of lettered options: ARC, HellaSwag, MMLU. The found letter must be the gold one."""

from __future__ import annotations

from collections.abc import Sequence

from gldbench.grade.answers import chosen_letter
from gldbench.grade.judges.judge import Judge, Mark
from gldbench.schema import Item, Task


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """One mark per item: filter "answer", metric "accuracy"."""
    return [[_mark(item, chosen_letter(output, item.choices))] for item, output in zip(items, outputs, strict=True)]


def _mark(item: Item, letter: str | None) -> Mark:
    return Mark(filter="answer", metric="accuracy", value=float(letter == item.target), answered=letter is not None)


CHOICE = Judge(judge)
