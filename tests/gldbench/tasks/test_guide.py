"""tasks/README.md: its examples work as they are printed, and it explains every key that task.yaml may have."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gldbench import cli
from gldbench.grade.judges import JUDGES
from gldbench.schema import Dataset, Exemplars, Generation, Headline, HubSource, Task, Variant
from gldbench.tasks import load_items, load_task, tasks_root
from gldbench.tasks.readers import READERS

GUIDE = (tasks_root() / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
"""path -> content of each file that the guide prints"""
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the guide; its tasks/ stands in for ours."""
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    monkeypatch.setattr("gldbench.tasks.load.tasks_root", lambda: tmp_path / "tasks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_guide_prints_two_benchmarks() -> None:
    assert {name for name in FILES if name.endswith("task.yaml")} == {
        "tasks/capitals/task.yaml",
        "tasks/rivers/task.yaml",
    }


def test_the_commands_print_the_checksums_and_counts_of_the_task(printed: Path) -> None:
    (commands,) = (text for text in blocks("sh") if "sha256sum" in text)
    done = subprocess.run(["bash", "-ec", commands], capture_output=True, text=True, cwd=printed, check=True)
    task = load_task("capitals")
    examples = task.variants["two_shot"].exemplars
    assert examples is not None
    for found in (task.dataset, examples):
        assert f"{found.sha256}  data/{found.file}\n" in done.stdout
        assert f"data/{found.file}:{found.count}\n" in done.stdout


def test_the_example_is_asked_and_scored_as_printed(
    printed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = {}
    for line in (line for text in blocks("sh") for line in text.splitlines() if line.startswith("gldbench ")):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", line.split())
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, line
        outputs[line.split()[1]] = capsys.readouterr().out
    assert list(outputs) == ["tasks", "score", "selftest"]
    assert outputs["score"] in blocks("text")
    items = load_items(load_task("capitals"), printed / "data", variant="two_shot")
    assert [item.subtask for item in items] == ["europe", "europe", "asia", "asia"]
    assert items[0].prompt == (
        "Q: What is the capital of Italy?\nA: The answer is Rome.\n\nQ: What is the capital of China?\n"
        "A: The answer is Beijing.\n\nQ: What is the capital of France?\nA:"
    )


def test_the_reader_makes_the_items_that_are_printed(printed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python")
    monkeypatch.delitem(READERS, "rivers", raising=False)
    namespace: dict[str, Any] = {}
    try:
        exec(code, namespace)
        items = load_items(load_task("rivers"), printed / "data")
    finally:
        READERS.pop("rivers", None)
    assert [(item.target, len(item.choices)) for item in items] == [("B", 3), ("A", 2)]
    assert items[0].prompt + "\n" in blocks("text")


def test_every_key_and_every_scorer_is_explained() -> None:
    tables = "\n".join(line for line in GUIDE.splitlines() if line.startswith("| "))
    explained = set(re.findall(r"`(\w+)`", "\n".join(line.split(" | ")[0] for line in tables.splitlines())))
    for record in (Task, Dataset, Variant, Exemplars, HubSource):
        assert {field.name for field in dataclasses.fields(record)} <= explained, record
    words = set(re.findall(r"`(\w+)`", tables))
    assert {field.name for record in (Generation, Headline) for field in dataclasses.fields(record)} <= words
    assert set(JUDGES) <= explained


def test_every_benchmark_is_in_the_table() -> None:
    listed = set(
        re.findall(r"[\w]+", " ".join(line.split(" | ")[0] for line in GUIDE.splitlines() if line[:2] == "| "))
    )
    names = {path.parent.name for path in tasks_root().glob("*/task.yaml")}
    assert {name for name in names if not name.startswith("world_")} <= listed


def test_the_variants_in_the_table_are_those_of_the_task() -> None:
    rows = {line.split(" | ")[0][2:]: line.split(" | ") for line in GUIDE.splitlines() if line.startswith("| ")}
    for name in ("bbh", "arc_c", "mmlu", "gsm8k", "math", "theoremqa", "mbpp", "mbpp_plus", "drop", "hellaswag"):
        assert rows[name][5].split(", ") == list(load_task(name).variants), name
