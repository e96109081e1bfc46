"""The judge of lettered options: ARC, HellaSwag, MMLU. The found letter must be the gold one."""

from __future__ import annotations

from collections.abc import Sequence

from gldbench.grade.judges.judge import ANSWER, LENIENT, Judge, Mark
from gldbench.grade.letters import Letter, chosen_letter, last_letter
from gldbench.schema import Item, Task


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """Two marks per item, metric "accuracy": filter "answer", and "lenient", which also takes the last letter."""
    stop = task.generation.stop
    return [
        _marks(item, chosen_letter(output, item.choices, stop), output)
        for item, output in zip(items, outputs, strict=True)
    ]


def _marks(item: Item, chosen: Letter, output: str) -> list[Mark]:
    right = chosen.letter == item.target
    return [
        Mark(
            filter=name,
            metric="accuracy",
            value=float(value),
            answered=chosen.letter is not None,
            how=chosen.found.how,
            found=chosen.found.text or "",
        )
        for name, value in ((ANSWER, right), (LENIENT, right or last_letter(output) == item.target))
    ]


CHOICE = Judge(judge)
