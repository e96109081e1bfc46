"""A process that is killed in the middle of an evaluation loses only the batch that it was generating."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gldbench.evaluate.evaluate import Evaluation, evaluate
from gldbench.generate import generate
from gldbench.schema import Response
from gldbench.store import Store

ChainMaker = Callable[..., Path]
FOLLOWS = {"1": "2", "2": "3", "3": "4", "4": "5", "x": "x", "e": "t", "t": "h", "?": "1", ".": "x"}
TASKS = ["gsm8k", "mmlu_ll"]
LIMIT, BATCH = 16, 2
CHILD = """
import sys, time
from pathlib import Path
from gldbench.generate import generate
from gldbench.evaluate.evaluate import evaluate

generate.FLUSH_SECONDS = 0.0  # every batch is on disk before the next one begins
checkpoint, data, output, limit, batch, *tasks = sys.argv[1:]
evaluate([Path(checkpoint)], tasks, Path(data), int(limit), Path(output), batch_size=int(batch), device="cpu",
         progress=lambda done, total: time.sleep(0.05))
"""


def run(checkpoint: Path, data: Path, output: Path) -> Evaluation:
    return evaluate([checkpoint], TASKS, data, LIMIT, output, batch_size=BATCH, device="cpu")


def killed_after(parts: int, checkpoint: Path, data: Path, output: Path) -> None:
    """Starts the evaluation as a process of its own and kills it without warning once so many parts are stored."""
    arguments = [str(checkpoint), str(data), str(output), str(LIMIT), str(BATCH), *TASKS]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], env=environment)
    deadline = time.monotonic() + 120
    try:
        while len(list((output / "responses").glob("part-*.parquet"))) < parts:
            assert child.poll() is None, "the evaluation ended before it could be killed"
            assert time.monotonic() < deadline, "the evaluation stored nothing"
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def bare(responses: list[Response]) -> list[Response]:
    """By key, without the time they took."""
    return sorted((dataclasses.replace(r, seconds=0.0) for r in responses), key=lambda r: r.case_id)


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_the_same_responses(
    chain: ChainMaker, benchmark_data: Path, tmp_path: Path
) -> None:
    checkpoint = chain(FOLLOWS, context=256)
    undisturbed = run(checkpoint, benchmark_data, tmp_path / "undisturbed")
    output = tmp_path / "killed"
    killed_after(5, checkpoint, benchmark_data, output)
    there = len(Store(output).responses())
    assert 0 < there < 2 * LIMIT
    resumed = run(checkpoint, benchmark_data, output)
    assert resumed.generated == 2 * LIMIT - there
    assert bare(Store(output).responses()) == bare(Store(tmp_path / "undisturbed").responses())
    assert len({response.case_id for response in Store(output).responses()}) == 2 * LIMIT
    assert [score.score for score in resumed.scores] == [score.score for score in undisturbed.scores]
    assert len(list((output / "plans").iterdir())) == 1
    assert run(checkpoint, benchmark_data, output).generated_tokens == 0
    assert generate.FLUSH_SECONDS > 0  # only the child stored every batch at once
