"""The judge of lettered options: its marks. test_answers.py tests how it finds the letter."""

from __future__ import annotations

from gldbench.grade.judges.choice import judge
from gldbench.schema import Item
from gldbench.tasks import load_task


def test_a_mark_says_whether_there_was_an_answer() -> None:
    item = Item("arc_c", "default", "0", "prompt", "C", "0", choices=("iron", "salt", "wood", "air"))
    marks = [own[0] for own in judge(load_task("arc_c"), [item] * 3, ["C", "B", "no idea"])]
    assert [(m.filter, m.metric, m.value, m.answered) for m in marks] == [
        ("answer", "accuracy", 1.0, True),
        ("answer", "accuracy", 0.0, True),
        ("answer", "accuracy", 0.0, False),
    ]
