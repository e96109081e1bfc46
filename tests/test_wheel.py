"""An installed wheel does what a checkout does: it runs from an empty folder, and its environment has no checkout."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
MINI = ROOT / "tests" / "gldbench" / "mini.yaml"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
ENVIRONMENT |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


def call(*command: str | Path, folder: Path, codes: tuple[int, ...] = (0,)) -> str:
    """Standard output of a command that must end with one of `codes`."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=folder, env=ENVIRONMENT)
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tracked and untracked files of the checkout without network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    call(*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel. It sees the dependencies of this one, but not the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    # Python reads .pth files of its own site-packages only, so the editable checkout in the others stays invisible.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    call(*pip, "install", "--no-deps", "--no-index", wheel, folder=folder)
    return folder / "bin"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An empty folder inside a repository that has nothing to do with this one."""
    git = ("git", "-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
    call(*git, "init", "--quiet", folder=tmp_path)
    call(*git, "commit", "--quiet", "--allow-empty", "--message", "none", folder=tmp_path)
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_the_code_comes_from_the_wheel(installed: Path, empty: Path) -> None:
    code = "import gldbench, gldfusion; print(gldbench.__file__); print(gldfusion.__file__)"
    for path in call(installed / "python", "-c", code, folder=empty).split():
        assert Path(path).is_relative_to(installed.parent)


def test_the_folders_of_the_checkout_are_in_the_wheel(installed: Path, empty: Path) -> None:
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    for source, place, pattern in (
        ("tasks", "gldbench/_tasks", "*/task.yaml"),
        ("reports/baselines", "gldbench/_baselines", "*.json"),
        ("gldbench/specs", "gldbench/specs", "*.yaml"),
        ("gldbench/gw/presets", "gldbench/gw/presets", "*.yaml"),
        ("gldbench/report/templates", "gldbench/report/templates", "*.j2"),
        ("reference/gldfusion/recipes", "gldfusion/recipes", "*.yaml"),
    ):
        expected = {path.relative_to(ROOT / source) for path in (ROOT / source).glob(pattern)}
        assert expected
        assert {path.relative_to(packages / place) for path in (packages / place).glob(pattern)} == expected


def test_tasks_are_listed(installed: Path, empty: Path) -> None:
    found = json.loads(call(installed / "gldbench", "tasks", "list", "--json", folder=empty))
    assert {task["name"] for task in found} == {path.parent.name for path in (ROOT / "tasks").glob("*/task.yaml")}


@pytest.mark.slow
def test_no_value_differs_from_the_baselines(installed: Path, empty: Path) -> None:
    """Speeds depend on what else the machine does, so only values count here."""
    guards: dict[str, Any] = json.loads(call(installed / "gldbench", "check", "--json", folder=empty, codes=(0, 1)))
    assert set(guards) == {path.stem for path in (ROOT / "reports" / "baselines").glob("*.json")}
    for guard in guards.values():
        assert guard["compared"] > 10
        assert not [move for move in guard["moves"] if move["what"] in ("value", "missing")]


def test_a_distance_is_bounded(installed: Path, empty: Path) -> None:
    points = np.random.default_rng(0).random((2, 5, 2))
    for name, own in zip("ab", points, strict=True):
        np.save(empty / f"{name}.npy", np.linalg.norm(own[:, None] - own[None], axis=-1))
    document = json.loads(call(installed / "gldbench", "gw", "solve", "a.npy", "b.npy", "--json", folder=empty))
    low, high = document["interval"]
    assert 0 < low <= high


@pytest.mark.slow
def test_a_small_experiment_runs(installed: Path, empty: Path) -> None:
    shutil.copy(MINI, empty / "mini.yaml")
    document = json.loads(call(installed / "gldbench", "run", "mini.yaml", "--workers", "2", "--json", folder=empty))
    assert document["jobs_run"] > 20
    assert Path(document["report"]).is_file()
    assert document["environment"]["commit"] is None
