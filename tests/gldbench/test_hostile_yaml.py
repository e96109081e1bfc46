"""Hostile YAML ends every loader of YAML in a short message at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gldbench.gw.spec import load_bench
from gldbench.spec import load_spec
from gldbench.tasks.read_yaml import read_task
from gldfusion.errors import InputError
from gldfusion.recipe import load_recipe

LOADERS: dict[str, Callable[[Path], object]] = {
    "spec": lambda path: load_spec(str(path)),
    "bench": lambda path: load_bench(str(path)),
    "recipe": load_recipe,
    "task": read_task,
}
BOMB = "[x, x, x, x, x, x, x, x, x]"
for level in range(9):
    BOMB = f"[&l{level} {BOMB}, {', '.join([f'*l{level}'] * 8)}]"
VALUES = {
    "bomb": BOMB,
    "itself": "&a [*a]",
    "empty number": '!!int ""',
    "date": "2020-99-99",
    "digits": "9" * 5000,
    "digits that fit": "9" * 99,
    "deep": "[" * 400,
    "levels that fit": "[" * 40 + "]" * 40,
    "many": "[" + "x, " * 9000 + "]",
    "long": "x" * 100_000,
    "not a number": ".nan",
    "infinite": "-.inf",
    "bytes": "!!binary x",
    "half a pair": '"\\ud800"',
    "control characters": '"\\e[31m\\r"',
    "list as a key": "{[1]: 2}",
}
KEYS = ("name", "train", "terms", "world", "methods", "extends", "cases", "answer_pattern", "chance")


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", VALUES)
def test_hostile_values_are_refused_at_once(loader: str, name: str, tmp_path: Path) -> None:
    for key in KEYS:
        path = tmp_path / "file.yaml"
        path.write_text(f"{key}: {VALUES[name]}\n")
        started = time.process_time()
        with pytest.raises(InputError) as refused:
            LOADERS[loader](path)
        message = str(refused.value)
        assert time.process_time() - started < 5
        assert len(message.splitlines()) <= 3
        assert len(message) < 2000
        assert "\x1b" not in message


def test_the_bomb_is_a_bomb() -> None:
    value = yaml.safe_load(BOMB)
    size = 1
    while isinstance(value, list):
        size, value = size * len(value), value[0]
    assert size == 9**10


def task(pattern: str) -> dict[str, Any]:
    """The content of a task.yaml."""
    return {
        "name": "toy",
        "version": 1,
        "title": "toy",
        "dataset": {"kind": "procedural", "licence": "MIT"},
        "prompt": "{q}",
        "scorer": "number",
        "answer_pattern": pattern,
        "generation": {"max_tokens": 4},
        "headline": {"grader": "ours", "filter": "answer", "metric": "exact_match"},
        "chance": 0.0,
        "citation": "nobody",
    }


@pytest.mark.parametrize("pattern", ["(" * 3000 + ")" * 3000, "(a{99999999999})", "(a", "a", "(?P<x>a)(b)"])
def test_a_task_with_a_bad_pattern_is_refused(pattern: str, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task(pattern)))
    with pytest.raises(InputError, match="answer_pattern answer"):
        read_task(tmp_path / "task.yaml")


@pytest.mark.parametrize("file", ["/", "/etc/hostname", "../x.jsonl", "a/../../b", ".", "a\0b"])
def test_a_task_reads_files_below_the_data_folder_only(file: str, tmp_path: Path) -> None:
    dataset = {"kind": "file", "licence": "MIT", "file": file, "sha256": "0" * 64, "count": 1}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task("x") | {"dataset": dataset, "answer_pattern": "(x)"}))
    with pytest.raises(InputError, match="expected a path below the folder of the data"):
        read_task(tmp_path / "task.yaml")
