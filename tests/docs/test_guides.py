"""The guides of CONTRIBUTING.md: each block is run as it is printed, in an empty namespace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from gldbench.generate import generate
from gldbench.generate.checkpoint import open_checkpoint
from gldbench.methods import METHODS
from gldbench.spec import MethodSpec, load_spec

PAGE = "CONTRIBUTING.md"
ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "tests" / "gldbench" / "mini.yaml"


def names_of(block: Any) -> dict[str, Any]:
    """What a block of Python defines in an empty namespace."""
    names: dict[str, Any] = {}
    exec(block.text, names)
    return names


def test_a_fusion_method(fused: Path, section: Any, blocks: Any, tmp_path: Path, monkeypatch: Any) -> None:
    code, methods = blocks(section(PAGE, "### A fusion method"))
    monkeypatch.setitem(METHODS, "wise_ft", names_of(code)["METHOD"])
    method = MethodSpec.model_validate(yaml.safe_load(methods.text)["methods"]["wise-ft"])
    made = METHODS[method.kind].make(
        load_spec(str(MINI)), method, fused, fused / "data.jsonl", 0, tmp_path / "made", lambda done, total: None
    )
    assert {"config.json", "training_log.jsonl", "training_totals.json"} <= {path.name for path in made.iterdir()}
    METHODS["train"].make(
        load_spec(str(MINI)), method, fused, fused / "data.jsonl", 0, tmp_path / "tuned", lambda done, total: None
    )
    before, after, mean = (
        load_file(folder / "model.safetensors") for folder in (fused / "models/pivot", tmp_path / "tuned", made)
    )
    for name in after:
        torch.testing.assert_close(mean[name], (before[name] + after[name]) / 2)


def test_a_backend(fused: Path, section: Any, blocks: Any, monkeypatch: Any) -> None:
    code, entry = blocks(section(PAGE, "### A backend"))
    module = type(sys)("gldbench.generate.plain")
    exec(code.text, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(generate.BACKENDS, "plain", names_of(entry)["_plain"])
    checkpoint = open_checkpoint(fused / "fused")
    plain, hf = (generate.BACKENDS[name](checkpoint, "cpu", 4) for name in ("plain", "hf"))
    prompts = [f"What is {sum_}?\nPlease reason step by step" for sum_ in ("2 plus 3", "6 plus 1")] + ["What"]
    ours, theirs = (backend.complete(prompts, 30, [" is"]) for backend in (plain, hf))
    assert [one.text for one in ours] == [one.text for one in theirs]
    assert [one.truncated for one in ours] == [one.truncated for one in theirs]
    pairs = [("2 plus 3 is", " 5."), ("2 plus 3 is", " 7. 7 7"), ("W" * 400, "hat")]
    for one, other in zip(plain.score(pairs), hf.score(pairs), strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-3)
        assert (one.greedy, one.cut) == (other.greedy, other.cut)
    assert [plain.count("a"), plain.count("a", plain=True)] == [hf.count("a"), hf.count("a", plain=True)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the sources, to which a test adds files."""
    for name in ("gldbench", "reference", "tasks", "tests/__init__.py", "tests/gldbench", "pyproject.toml"):
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return tmp_path


def add(root: Path, found: list[Any], page: str, dictionary: str, imported: str) -> None:
    """Does what a guide says: writes its files, and puts the entry that the page prints into the dictionary."""
    for block in found:
        if block.file is not None:
            (root / block.file).parent.mkdir(exist_ok=True)
            (root / block.file).write_text(block.text)
    told = re.search(rf"The entry in `{dictionary}` \(`([^`]+)`\) is\s+`([^`]+)`", page)
    assert told is not None
    path = root / told[1]
    text, changed = re.subn(rf"^({dictionary}\b.*= {{)", rf"{imported}\n\1{told[2]}, ", path.read_text(), flags=re.M)
    assert changed == 1
    path.write_text(text)


def run_in(root: Path, *arguments: str) -> None:
    """Runs Python on the copied sources."""
    paths = os.pathsep.join([str(root), str(root / "reference")])
    environment = os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_task_family(copy: Path, section: Any, blocks: Any) -> None:
    page = section(PAGE, "### A task family")
    add(copy, blocks(page), page, "FAMILIES", "from gldbench.worlds.families import reversal")
    tests = ["tests/gldbench/worlds/test_families.py", "tests/gldbench/tasks/test_load.py"]
    run_in(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "reversal", *tests)


@pytest.mark.slow
def test_a_run_with_the_new_method(copy: Path, section: Any, blocks: Any) -> None:
    page = section(PAGE, "### A fusion method")
    code, methods = blocks(page)
    add(copy, [code], page, "METHODS", "from gldbench.methods import wise_ft")
    spec = yaml.safe_load(MINI.read_text()) | yaml.safe_load(methods.text)
    (copy / "spec.yaml").write_text(yaml.safe_dump(spec))
    run_in(copy, "-m", "gldbench.cli", "run", "spec.yaml", "--output", "run", "--workers", "2")
    assert "wise-ft" in (copy / "run" / "report" / "report.md").read_text()
