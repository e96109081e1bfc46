"""The reader "options": rows in the layouts in which benchmarks with options are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gldbench.grade import GRADERS
from gldbench.grade.rows import bare_response
from gldbench.tasks import load_items, load_task
from gldbench.tasks.new import new_task
from gldbench.tasks.options import options
from gldfusion.errors import InputError

MMLU = {
    "question": "Which metal rusts?",
    "subject": "chemistry",
    "choices": ["gold", "iron", "tin", "lead"],
    "answer": 1,
}
ARC = {
    "id": "Mercury_1",
    "question": "Which metal rusts?",
    "choices": {"text": ["gold", "iron", "tin"], "label": ["1", "2", "3"]},
    "answerKey": "2",
}
OPENBOOK = {
    "id": "7-980",
    "question": {"stem": "Which rusts?", "choices": [{"text": "gold", "label": "A"}, {"text": "iron", "label": "B"}]},
    "answerKey": "B",
}
HELLASWAG = {
    "ind": 4,
    "activity_label": "Rust",
    "ctx": "The nail",
    "endings": ["shines", "rusts", "sings"],
    "label": "1",
}
PRO = {"question": "Which?", "options": ["gold", "iron", "tin", "lead", "zinc"], "answer": "B", "answer_index": 1}
BY_TEXT = {"query": "Which?", "options": ["gold", "iron"], "gold": "iron"}
NUMBERS = {"question": "1 + 2?", "options": ["4", "3", "7"], "answer": "3"}
LAYOUTS = {
    "MMLU": MMLU,
    "ARC": ARC,
    "OpenBookQA": OPENBOOK,
    "HellaSwag": HELLASWAG,
    "MMLU-Pro": PRO,
    "text": BY_TEXT,
    "digits": NUMBERS,
}


@pytest.mark.parametrize("record", LAYOUTS.values(), ids=LAYOUTS)
def test_published_layouts_are_read(record: dict[str, Any]) -> None:
    reading = options(3, record)
    assert (reading.item_id, reading.target) == ("3", "B")
    assert reading.fields["options"].splitlines()[1] == f"B. {reading.choices[1]}"
    assert isinstance(reading.fields["question"], str)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 4}, "the answer 4 is none of the 4 options"),
        ({"answer": -1}, "the answer -1 is none of the 4 options"),
        ({"answer": "E"}, "the answer 'E' is none of the 4 options"),
        ({"answer": "brass"}, "the answer 'brass' is none of the 4 options"),
        ({"answer": True}, "as a number, a letter or a text, got True"),
        ({"answer": None}, "as a number, a letter or a text, got None"),
        ({"answer": "1", "choices": ["2", "3", "1", "4"]}, "may mean several options"),
        ({"answer": "A", "choices": ["B", "A"]}, "may mean several options"),
        ({"choices": ["gold"]}, "1 options: expected 2 to 5"),
        ({"choices": list("abcdefghij")}, "10 options: expected 2 to 5"),
        ({"choices": "gold or iron"}, "expected a list of options, got 'gold or iron'"),
        ({"choices": [["gold"], ["iron"]]}, "expected a list of options"),
    ],
)
def test_rows_that_say_no_single_answer_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        options(0, {**MMLU, **change})


def test_a_missing_field_is_named() -> None:
    for name, what in (("question", "the question"), ("choices", "the options"), ("answer", "the answer")):
        with pytest.raises(InputError, match=f"no field for {what}: expected one of"):
            options(0, {key: value for key, value in MMLU.items() if key not in (name, "subject")})


@pytest.mark.parametrize("layout", ["MMLU", "HellaSwag", "MMLU-Pro", "text"])
def test_a_new_task_of_such_rows_is_asked_and_graded(layout: str, tmp_path: Path) -> None:
    file = tmp_path / "metals.jsonl"
    file.write_text(json.dumps(LAYOUTS[layout]) + "\n")
    made = new_task(file, into=tmp_path / "own")
    task = load_task("metals", tmp_path / "own")
    assert (task.reader, task.scorer) == ("options", "choice")
    (item,) = load_items(task, made.data)
    assert "B. " in item.prompt
    assert task.chance == pytest.approx(1 / len(item.choices), abs=1e-4)
    for output, value in (("The answer is B.", 1.0), ("The answer is A.", 0.0)):
        assert GRADERS["ours"].grade(task, [item], [bare_response(item, output)])[0].value == value


def test_the_subtasks_of_such_rows_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "metals.jsonl"
    rows = [{**MMLU, "subject": subject} for subject in ("tin", "tin", "iron", "iron")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    new_task(file, into=tmp_path / "own")
    assert load_task("metals", tmp_path / "own").subtasks == ("tin", "iron")


def test_rows_that_the_reader_cannot_read_are_told(tmp_path: Path) -> None:
    file = tmp_path / "metals.jsonl"
    file.write_text(json.dumps({**MMLU, "answer": 7}) + "\n")
    made = new_task(file, into=tmp_path / "own")
    assert "cannot read them (row 0: the answer 7 is none of the 4 options expected" in made.missing[0]
