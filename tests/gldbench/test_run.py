"""The main job on a very small experiment: whole, once, and the same after a kill."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from gldbench.engines import ENGINES
from gldbench.jobs import Job, Ran
from gldbench.run import Machine, run_spec
from gldbench.spec import load_spec, subjects_of, unit_of
from gldbench.store import Store

SPEC = Path(__file__).parent / "mini.yaml"
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def command(output: Path, *more: str, spec: Path = SPEC) -> list[str]:
    return [sys.executable, "-m", "gldbench.cli", "run", str(spec), "--output", str(output), "--workers", "2", *more]


def run(output: Path, *more: str, spec: Path = SPEC) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(output, *more, spec=spec), capture_output=True, text=True, env=ENVIRONMENT)


def weights(output: Path) -> dict[str, str]:
    """Hash of every checkpoint's weights, the world's models included."""
    files = [*output.glob("checkpoints/*/model.safetensors")]
    files += output.parent.glob("worlds/*/models/*/model.safetensors")
    return {f"{f.parent.name}": hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def responses(output: Path) -> pd.DataFrame:
    """Responses without what may differ between runs: times."""
    frame = pd.DataFrame([dataclasses.asdict(response) for response in Store(output).responses()])
    return frame.drop(columns="seconds").sort_values(["subject", "task", "item_id"]).reset_index(drop=True)


def grades(output: Path) -> pd.DataFrame:
    """Graded rows, in one order."""
    frame = Store(output).frame().query("suite == 'world'")
    return frame.sort_values(["subject", "task", "variant", "item"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    output = tmp_path_factory.mktemp("whole") / "mini"
    done = run(output)
    assert done.returncode == 0, done.stderr
    yield output
    shutil.rmtree(output.parent)


def test_every_part_of_the_run_is_there(undisturbed: Path) -> None:
    expected = {f"{m}-seed{s}" for m in ("sft", "sft+uld+gld", "sft+kl", "sft+kl-shuffled") for s in (0, 1)}
    assert {p.name for p in (undisturbed / "checkpoints").iterdir() if not p.name.startswith(".")} == expected
    for name in ("spec.yaml", "environment.json", "report/index.html", "report/report.md"):
        assert (undisturbed / name).is_file(), name
    found = grades(undisturbed)
    subjects = expected | {"pivot", "source-a", "source-b", "control"}
    assert set(found["subject"]) == subjects
    assert len(found) == len(subjects) * 7 * (4 + 2)
    assert not found.duplicated(["subject", "task", "variant", "item", "metric"]).any()


def test_training_is_logged_term_by_term(undisturbed: Path) -> None:
    rows = Store(undisturbed).frame().query("suite == 'training' and subject == 'sft+uld+gld-seed0'")
    by_metric = rows.groupby("metric")["value"].count()
    assert by_metric[["loss", "loss/sft", "loss/uld", "loss/gld"]].tolist() == [6, 6, 6, 6]
    shares = rows[rows["metric"].str.startswith("gradient_share/")].groupby("item")["value"].sum()
    assert len(shares) == 2
    assert shares.to_numpy() == pytest.approx(1.0)


def test_a_second_run_does_no_work_twice(undisturbed: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*") if p.is_file() and "report" not in p.parts}
    again = run(undisturbed, "--json")
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert told["jobs_run"] == 0
    assert set(told["seconds"]) == {"start", "idle", "report", "elapsed"}
    after = {p: p.stat().st_mtime_ns for p in before}
    assert {p.name for p in before if before[p] != after[p]} <= {".lock"}


def test_another_spec_in_the_same_folder_is_refused(undisturbed: Path, tmp_path: Path) -> None:
    changed = tmp_path / "mini.yaml"
    changed.write_text(SPEC.read_text().replace("seeds: [0, 1]", "seeds: [0, 2]"))
    refused = run(undisturbed, spec=changed)
    assert refused.returncode == 2
    assert "holds another version of this experiment" in refused.stderr
    assert 1 <= len(refused.stderr.strip().splitlines()) <= 3


def test_corrupted_rows_are_named_and_redone(undisturbed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mini"
    shutil.copytree(undisturbed.parent / "worlds", tmp_path / "worlds")
    shutil.copytree(undisturbed, copy)
    part = sorted((copy / "rows").glob("part-*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-8] + b"00000000")
    refused = run(copy)
    assert refused.returncode == 2
    assert part.name in refused.stderr
    part.unlink()
    mended = run(copy)
    assert mended.returncode == 0, mended.stderr
    pd.testing.assert_frame_equal(grades(copy), grades(undisturbed))


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("mini/checkpoints/sft-seed0/model.safetensors", "is damaged"),
        pytest.param("mini/checkpoints/sft+kl-seed1/tokenizer.json", "is damaged", marks=pytest.mark.slow),
        ("mini/checkpoints/sft-seed1/manifest.json", "is damaged"),
        pytest.param("worlds/*/data/set-test.jsonl", "is damaged", marks=pytest.mark.slow),
        ("worlds/*/models/pivot/config.json", "is damaged"),
        pytest.param("mini/spec.yaml", "is damaged", marks=pytest.mark.slow),
        ("mini/environment.json", "is damaged"),
    ],
)
def test_a_run_does_not_go_on_over_a_damaged_folder(
    undisturbed: Path, tmp_path: Path, pattern: str, problem: str
) -> None:
    shutil.copytree(undisturbed.parent / "worlds", tmp_path / "worlds")
    shutil.copytree(undisturbed, tmp_path / "mini")
    (path,) = tmp_path.glob(pattern)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    refused = run(tmp_path / "mini")
    assert refused.returncode == 2
    assert f"{path} {problem}" in refused.stderr
    assert 2 <= len(refused.stderr.strip().splitlines()) <= 3


def test_lost_responses_are_repeated_even_if_the_repetition_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted bug: only the first process knew of the loss, because `settle` takes lost parts off the manifest."""
    spec, folder = load_spec(str(SPEC)), tmp_path / "mini"
    found: list[bool] = []

    def start(killed: bool = False) -> bool:
        """Starts the run, which makes nothing. Returns whether every evaluation counts as done."""

        def run_jobs(jobs: list[Job], *_: object) -> Ran:
            found.append(all(job.done() for job in jobs if job.name.startswith("evaluate ")))
            if killed:
                raise KeyboardInterrupt
            return Ran()

        monkeypatch.setitem(ENGINES, "processes", run_jobs)
        with suppress(KeyboardInterrupt):
            run_spec(spec, folder, Machine(unsafe_code=True), lambda *_: None)
        return found.pop()

    store = Store(folder)
    for subject in subjects_of(spec):
        store.append_rows([], unit_of(subject.name))
        store.append_responses([], f"responses of {subject.name}")
    assert start()
    sorted((folder / "responses").glob("part-*.parquet"))[1].unlink()
    assert [start(killed=True), start(killed=True), start(), start()] == [False, False, False, True]


def kill_whole_tree(process: subprocess.Popen[Any]) -> None:
    """`kill -9` of the parent alone; the workers must end by themselves."""
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, f"workers outlived their parent: {alive}"


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.45, 0.6, 0.75, 0.9])
def test_a_killed_run_goes_on_to_the_same_result(undisturbed: Path, tmp_path: Path, share: float) -> None:
    """Killed after a share of the jobs, then repeated: same weights (bit for bit), responses and grades."""
    output = tmp_path / "mini"
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(command(output), text=True, env=ENVIRONMENT, **pipes) as process:
        assert process.stderr is not None
        for line in process.stderr:  # "[    12 s] 17/28 fuse sft-seed0"
            done, _, total = line.partition("]")[2].split()[0].partition("/")
            if int(done) >= share * int(total):
                break
        time.sleep(0.05)
        kill_whole_tree(process)
    assert not (output / "report").exists(), "killed too late to show anything"
    resumed = run(output)
    assert resumed.returncode == 0, resumed.stderr
    assert weights(output) == weights(undisturbed)
    pd.testing.assert_frame_equal(responses(output), responses(undisturbed))
    pd.testing.assert_frame_equal(grades(output), grades(undisturbed))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with subprocess.Popen(command(tmp_path / "mini"), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.endswith("interrupted: run the same command again to resume\n")
    assert "Traceback" not in errors
