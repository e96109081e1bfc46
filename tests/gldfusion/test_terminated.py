"""SIGTERM and Ctrl-C end `fuse` and `cache build` in words, leave nothing half-written, and the work can go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ENDS = {signal.SIGTERM: 143, signal.SIGINT: 130}


def write_recipe(models: dict[str, Path], tmp_path: Path, texts: int) -> Path:
    """Writes a recipe that takes many steps."""
    lines = (json.dumps({"prompt": f"Number {i}?", "response": f"{i} and {i + 1}. " * 9}) for i in range(texts))
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    content = {
        "name": "long",
        "pivot": str(models["pivot"]),
        "data": "data.jsonl",
        "sources": [{"name": "llama", "checkpoint": str(models["llama"]), "cache": "cache"}],  # a build reads it
        "terms": [],
        "train": {"steps": 100_000, "batch_size": 2, "learning_rate": 0.001, "save_every": 1},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(content))
    return tmp_path / "recipe.yaml"


def stop_when(ready: Callable[[], bool], number: signal.Signals, *arguments: str) -> str:
    """Starts the command, sends it a signal when `ready` holds, and returns what it wrote to standard error."""
    command = [sys.executable, "-m", "gldbench.cli", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not ready():
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == ENDS[number]
    return errors


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stopped_fusion_says_how_to_go_on(models: dict[str, Path], tmp_path: Path, number: signal.Signals) -> None:
    recipe = write_recipe(models, tmp_path, 20)
    states = tmp_path / ".out.state"

    def saved_two() -> bool:
        return states.is_dir() and len([name for name in os.listdir(states) if name.startswith("step-")]) >= 2

    errors = stop_when(saved_two, number, "fuse", str(recipe), "--output", str(tmp_path / "out"))
    assert errors.strip().splitlines()[-1] == "interrupted: run the same command again to resume"
    assert "Traceback" not in errors
    assert [name for name in os.listdir(states) if name.endswith(".part")] == []
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stopped_build_says_how_to_go_on(models: dict[str, Path], tmp_path: Path, workers: str) -> None:
    recipe = write_recipe(models, tmp_path, 4000)
    cache = tmp_path / "cache"
    errors = stop_when(
        (cache / "meta.json").exists,
        signal.SIGTERM,
        *("cache", "build", str(recipe), "--workers", workers),
    )
    assert errors.strip().splitlines()[-1] == "interrupted: run the same command again to resume"
    assert "Traceback" not in errors
    if workers == "1":  # a worker that is stopped leaves its part to the next build
        assert [*cache.glob(".*.part")] == []


WHILE_PYTHON_FINALIZES = """
import os, signal, sys, time
from gldbench import cli

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell starts with SIGINT ignored

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))

def app():
    Finalized()
    time.sleep(60)

cli.app = app
cli.main()
"""


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_counts_that_comes_while_python_runs_a_finalizer(number: signal.Signals) -> None:
    """Python ignores what is raised there: with that alone the command would go on as if no signal had come."""
    command = [sys.executable, "-c", WHILE_PYTHON_FINALIZES, str(int(number))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    if number == signal.SIGTERM:
        assert (ended.returncode, ended.stderr) == (143, "interrupted: run the same command again to resume\n")
    else:  # typer, which this test leaves out, turns Ctrl-C into an exit code
        assert ended.returncode == -signal.SIGINT
        assert "Exception ignored" not in ended.stderr
