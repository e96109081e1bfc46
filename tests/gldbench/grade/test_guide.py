"""What docs/evaluation.md promises about graders: what each must do, and that its example works as it is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gldbench.grade import GRADERS
from gldbench.grade.rows import RowLabels, bare_response, grade, graders_named
from gldbench.schema import Item
from gldbench.tasks import load_task, task_names

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "evaluation.md"
TARGETS = {"gsm8k": "18", "bbh": "valid", "world_boolean_expressions": "True"}
"""tasks whose items can be made without a data file -> a gold answer"""


def items_of(task_name: str, count: int) -> list[Item]:
    return [Item(task_name, "default", str(n), "prompt", TARGETS[task_name], str(n)) for n in range(count)]


def check_grader(name: str, task_name: str) -> None:
    """Grades outputs with and without an answer, if the grader applies to the task."""
    grader, task, target = GRADERS[name], load_task(task_name), TARGETS[task_name]
    if not grader.applies(task):
        return
    outputs = [f"The answer is {target}.", f"# {target}", "", "\u2028", "x" * 2_000]
    items = items_of(task_name, len(outputs))
    responses = [bare_response(item, output) for item, output in zip(items, outputs, strict=True)]
    grades = grader.grade(task, items, responses)
    headline = [grade for grade in grades if (grade.filter, grade.metric) == grader.headline(task)]
    assert sorted(grade.item_id for grade in headline) == [item.item_id for item in items]
    assert all(grade.value is not None and 0 <= grade.value <= 1 for grade in grades)
    assert grader.grade(task, items, responses) == grades
    assert grader.grade(task, [], []) == []


@pytest.mark.parametrize("task_name", TARGETS)
@pytest.mark.parametrize("name", GRADERS)
def test_every_grader_grades_every_item_and_the_same_each_time(name: str, task_name: str) -> None:
    check_grader(name, task_name)


@pytest.mark.parametrize("name", GRADERS)
def test_every_grader_names_a_headline_for_the_tasks_it_applies_to(name: str) -> None:
    grader, tasks = GRADERS[name], map(load_task, task_names())
    headlines = [grader.headline(task) for task in tasks if grader.applies(task)]
    assert all(filter_name and metric for filter_name, metric in headlines)


def test_the_grader_of_the_guide_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    monkeypatch.setitem(GRADERS, "last_word", names["LAST_WORD"])
    assert graders_named("last_word") == ("last_word",)
    for task_name in TARGETS:
        check_grader("last_word", task_name)
    items = items_of("gsm8k", 3)
    responses = [bare_response(item, out) for item, out in zip(items, ["So it is 18.", "18 of 20", ""], strict=True)]
    labels = RowLabels(run_id="", env_id="", suite="score", subject="guide", method="stored")
    rows = grade(load_task("gsm8k"), items, responses, labels, ("last_word",))
    assert [(row.grader, row.value, row.status) for row in rows] == [
        ("last_word", 1.0, "ok"),
        ("last_word", 0.0, "ok"),
        ("last_word", 0.0, "no_answer"),
    ]
    assert not GRADERS["last_word"].applies(load_task("arc_c"))
