"""`gldbench tasks new`, and task folders outside the checkout."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gldbench.tasks import load_items, load_task, task_names
from gldbench.tasks.new import FILL_IN, new_task
from gldfusion.errors import InputError


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Rows with a question, a number, and a topic with two rows each."""
    rows = [
        {"question": f"What is {a} and {a}?", "answer": f"{2 * a:,}", "topic": "small" if a < 9 else "large"}
        for a in (2, 3, 900, 901)
    ]
    return write(tmp_path / "data" / "sums" / "test.jsonl", *rows)


def test_a_task_is_written_that_loads_its_file(sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = new_task(sums, into=tmp_path / "own")
    assert (made.name, made.folder, made.data, made.count) == ("sums", tmp_path / "own/sums", tmp_path / "data", 4)
    monkeypatch.setenv("GLDBENCH_TASKS", str(tmp_path / "own"))
    assert "sums" in task_names()
    assert "gsm8k" in task_names()
    task = load_task("sums")
    assert (task.dataset.file, task.dataset.count) == ("sums/test.jsonl", 4)
    assert task.dataset.sha256 == hashlib.sha256(sums.read_bytes()).hexdigest()
    assert (task.scorer, task.subtasks) == ("number", ("small", "large"))
    items = load_items(task, made.data)
    assert items[2].target == "1800"
    assert items[2].prompt.startswith("What is 900 and 900?\n")
    assert task.dataset.licence == FILL_IN
    text = (made.folder / "task.yaml").read_text()
    assert "# score in [0, 1] of the best guess" in text
    assert load_task("sums/small").subtask == "small"


def test_a_marked_gold_answer_and_a_compressed_file(tmp_path: Path) -> None:
    content = b'{"problem": "2+3?", "solution": "We add.\\n#### 5"}\n'
    path = tmp_path / "adding.jsonl.gz"
    path.write_bytes(gzip.compress(content))
    made = new_task(path, into=tmp_path / "own")
    task = load_task(made.name, tmp_path / "own")
    assert made.name == "adding"
    assert task.dataset.file == "adding.jsonl"
    assert task.dataset.sha256 == hashlib.sha256(content).hexdigest()
    (item,) = load_items(task, made.data)
    assert (item.target, task.scorer) == ("5", "number")


def test_rows_of_a_known_shape_get_its_reader(tmp_path: Path) -> None:
    row = {"subject": "rivers", "question": "Which?", "A": "a", "B": "b", "C": "c", "D": "d", "answer": "B"}
    made = new_task(write(tmp_path / "rivers.jsonl", row), into=tmp_path / "own")
    task = load_task("rivers", tmp_path / "own")
    assert (task.reader, task.scorer) == ("mmlu", "choice")
    (item,) = load_items(task, made.data)
    assert (item.target, item.choices) == ("B", ("a", "b", "c", "d"))


def test_what_cannot_be_guessed_is_named(tmp_path: Path) -> None:
    made = new_task(write(tmp_path / "odd.jsonl", {"stimulus": "a", "choices": ["b", "c"]}), into=tmp_path / "own")
    listed = "\n".join(made.missing)
    assert "the reader options cannot read them (row 0: no field for the question" in listed
    assert "prompt: name one of the fields stimulus, choices" in listed
    assert "dataset.target: which of stimulus, choices" in listed


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "", "holds no rows"),
        ("[1]\n", "", "line 1: expected an object"),
        ('{"a": 1}\n{"a":\n', "", "line 2 is not JSON"),
        ('{"question": "a", "answer": "b"}\n', "gsm8k", 'there is a task "gsm8k" already'),
        ('{"question": "a", "answer": "b"}\n', "a/b", 'a task cannot be called "a/b"'),
    ],
)
def test_bad_input(tmp_path: Path, content: str, name: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        new_task(path, name, tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_a_folder_is_not_overwritten(sums: Path, tmp_path: Path) -> None:
    new_task(sums, into=tmp_path / "own")
    with pytest.raises(InputError, match=r"will not overwrite .*sums"):
        new_task(sums, into=tmp_path / "own")


def test_several_roots(sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of all roots are known; a name in two roots and a root that is none are refused."""
    new_task(sums, "one", tmp_path / "first")
    new_task(sums, "two", tmp_path / "second")
    roots = [str(tmp_path / "first"), str(tmp_path / "second"), str(tmp_path / "first")]
    monkeypatch.setenv("GLDBENCH_TASKS", os.pathsep.join(roots))
    assert {"one", "two", "bbh"} <= set(task_names())
    (tmp_path / "second/two").rename(tmp_path / "second/one")
    with pytest.raises(InputError, match=r'two folders hold a task "one": .*first/one and .*second/one'):
        load_task("gsm8k")
    monkeypatch.setenv("GLDBENCH_TASKS", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no folder of tasks .*nowhere\nname an existing one with --tasks-dir"):
        task_names()
    monkeypatch.setenv("GLDBENCH_TASKS", str(tmp_path / "first/one"))
    with pytest.raises(InputError, match="is the folder of one task\nname the folder that holds it"):
        task_names()
