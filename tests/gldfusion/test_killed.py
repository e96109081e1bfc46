"""`kill -9` at twelve moments of one fusion, inside saves too: the weights are those of an undisturbed one."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess as Process
from pathlib import Path

import pytest

from gldbench.commands.fuse import fuse
from gldfusion.files import hash_file

STEPS = 12
MOMENTS = (
    "log of 1",
    "part of 1",
    "pytorch_model.bin of 2",
    "optimizer.bin of 3",
    "log.json of 4",
    "manifest.json of 5",
    "state of 6",
    "log of 7",
    "random_states_0.pkl of 8",
    "state of 9",
    "log of 12",
    "export",
)
"""a file of a state that is being written, a finished state, a line of the log, the checkpoint that is being written"""


def reached(output: Path, moment: str) -> bool:
    """Whether a fusion has come to a moment, or just passed it."""
    state = output.with_name(f".{output.name}.state")
    if moment == "export":
        return output.exists() or any(output.parent.glob(f".{output.name}.*.part"))
    what, _, step = moment.partition(" of ")
    if what == "log":
        log = state / "training_log.jsonl"
        return log.exists() and log.read_text().count("\n") >= int(step)
    if what == "part":
        return (state / f"step-{step}.part").exists() or (state / f"step-{step}").exists()
    return (state / f"step-{step}").exists() or (what != "state" and (state / f"step-{step}.part" / what).exists())


def steps_of_log(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fusion_that_is_killed_twelve_times_ends_in_the_same_weights(models: dict[str, Path], tmp_path: Path) -> None:
    lines = (json.dumps({"prompt": f"Number {i}?", "response": f"{i} and {i + 1}. " * (1 + i % 7)}) for i in range(30))
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    sources = [{"name": "llama", "checkpoint": str(models["llama"])}]
    train = {"steps": STEPS, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 0.01, "save_every": 1}
    content = {"name": "killed", "pivot": str(models["pivot"]), "data": "data.jsonl", "sources": sources}
    content |= {"terms": [{"loss": "uld", "weight": 1}], "min_coverage": 0, "train": train | {"log_every": 1}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(content))

    arguments = ["fuse", str(tmp_path / "recipe.yaml"), "--output", str(tmp_path / "undisturbed"), "--tracker", "none"]
    command = [sys.executable, "-m", "gldbench.cli", *arguments]
    said = subprocess.run(command, check=True, capture_output=True, timeout=300).stderr
    assert b"\r" not in said
    assert b"\x1b" not in said
    assert said.count(b"\nstep ") == STEPS

    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["gldbench.commands.fuse", "gldfusion.fuse"])  # torch is imported once

    def start(output: Path) -> Process:
        process = server.Process(
            target=fuse, args=(tmp_path / "recipe.yaml", output), kwargs={"tracker": "none", "limit": 1}
        )
        process.start()
        return process

    output = tmp_path / "killed"
    for moment in MOMENTS:
        process = start(output)
        wait(lambda moment=moment: reached(output, moment), process)
        process.kill()
        process.join(60)
        log = tmp_path / ".killed.state" / "training_log.jsonl"
        assert steps_of_log(log) == list(range(1, 1 + len(steps_of_log(log)))), moment
    last = start(output)
    last.join(200)
    assert last.exitcode == 0
    assert hash_file(output / "model.safetensors") == hash_file(tmp_path / "undisturbed" / "model.safetensors")
    assert steps_of_log(output / "training_log.jsonl") == list(range(1, STEPS + 1))
    hidden = {name for name in os.listdir(tmp_path) if name.startswith(".")}
    assert hidden == {".killed.lock", ".undisturbed.lock"}


def wait(ready: Callable[[], bool], process: Process) -> None:
    """Waits until a moment has come. The process must still be running then."""
    end = time.monotonic() + 300
    while not ready():
        assert process.is_alive(), "it ended before the moment"
        assert time.monotonic() < end
        time.sleep(0.0005)
