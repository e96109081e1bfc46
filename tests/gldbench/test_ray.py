"""The engine `ray` on a cluster of two nodes: the results of `serial`; a killed worker's job is repeated once."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gldbench.cli import app
from gldbench.jobs import Job
from gldbench.ray_engine import run_on_ray
from gldbench.store import Store
from gldfusion.errors import InputError
from gldfusion.files import hash_file

ray = pytest.importorskip("ray", reason="ray is not installed")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two nodes with one processor each. This process is connected to them."""
    from ray import cloudpickle  # pyright: ignore[reportMissingImports]  an extra
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files
    yield
    ray.shutdown()
    nodes.shutdown()


def note_node(path: Path, needs: list[Path], progress: Callable[[int, int], None]) -> None:
    assert all(need.exists() for need in needs)
    progress(1, 2)
    time.sleep(2)
    path.write_text(ray.get_runtime_context().get_node_id())


def die_at_first(path: Path, times: int, progress: Callable[[int, int], None]) -> None:
    deaths = path.with_suffix(".deaths")
    died = len(deaths.read_text()) if deaths.exists() else 0
    if died < times:
        deaths.write_text("x" * (died + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text("done")


def fail(progress: Callable[[int, int], None]) -> None:
    raise InputError("what is wrong\nhow to mend it")


def job(folder: Path, name: str, *needs: str) -> Job:
    path = folder / name
    return Job(name, note_node, {"path": path, "needs": [folder / n for n in needs]}, path.exists, needs)


def deadly(folder: Path, times: int) -> Job:
    path = folder / "deadly"
    return Job("deadly", die_at_first, {"path": path, "times": times}, path.exists)


def ignore(name: str, done: int, total: int) -> None:
    pass


def test_jobs_run_on_both_nodes_after_what_they_need_and_only_once(cluster: None, tmp_path: Path) -> None:
    jobs = [job(tmp_path, "c", "a", "b"), job(tmp_path, "b"), job(tmp_path, "a")]
    seen: list[tuple[str, int, int]] = []
    ran = run_on_ray(jobs, 1, 1, lambda *report: seen.append(report))
    assert set(ran.seconds) == {"a", "b", "c"}
    assert list(ran.seconds)[-1] == "c"
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()
    assert {("a", 0, 1), ("a", 1, 2), ("a", 1, 1)} <= set(seen)
    assert not run_on_ray(jobs, 1, 1, ignore).seconds


def test_a_job_whose_worker_is_killed_is_repeated_once_and_named(
    cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_on_ray([deadly(tmp_path, 1), job(tmp_path, "a")], 1, 1, ignore)
    assert set(ran.seconds) == {"deadly", "a"}
    assert "the worker of the job deadly was killed: the job is repeated" in capsys.readouterr().err


def test_a_job_whose_worker_is_killed_twice_ends_the_run_and_is_named(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the job deadly lost its worker 2 times"):
        run_on_ray([deadly(tmp_path, 9)], 1, 1, ignore)
    assert (tmp_path / "deadly.deaths").read_text() == "xx"


def test_the_error_of_a_job_is_the_one_that_it_raised(cluster: None, tmp_path: Path) -> None:
    failing = Job("fail", fail, {}, lambda: False)
    with pytest.raises(InputError, match="what is wrong\nhow to mend it"):
        run_on_ray([failing, job(tmp_path, "later", "fail")], 1, 1, ignore)
    assert not (tmp_path / "later").exists()


TIMES = ("seconds", "peak_memory")
"""beginnings of the names of metrics that differ from run to run"""


def results(run: Path) -> tuple[dict[str, str], list[dict[str, Any]], list[dict[str, Any]]]:
    """What a run made, without times: checksums of all weights, what the checkpoints wrote, and all rows.

    An experiment that runs serially has another environment, because the environment holds the number of workers. With
    a substitute several models are the same, whose responses are stored under the name of the one that asked first.
    """
    weights = {str(p.relative_to(run.parent)): hash_file(p) for p in sorted(run.parent.rglob("*.safetensors"))}
    store = Store(run)
    written = [dataclasses.asdict(response) | {"seconds": 0, "subject": ""} for response in store.responses()]
    rows = [dataclasses.asdict(row) | {"env_id": ""} for row in store.rows() if not row.metric.startswith(TIMES)]
    return weights, in_order(written), in_order(rows)


def in_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each record once, in an order that does not depend on which job ended first."""
    unique = {json.dumps(one, sort_keys=True): one for one in found}
    return [unique[text] for text in sorted(unique)]


def run_named(name: str, output: Path, engine: str, *arguments: str) -> Any:
    """The results of one run in a folder of its own."""
    run = output / engine / "run"
    call = ["run", name, "--engine", engine, "--output", str(run), "--workers", "2", "--json", *arguments]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, f"{result.output}{result.exception!r}"
    return results(run)


@pytest.mark.timeout(900)  # two whole runs, and each worker of Ray imports torch anew
@pytest.mark.parametrize(
    ("name", "arguments", "made"),
    [
        ("paper", ("--substitute", "tiny"), "run/checkpoints/pivot-fused"),
        (
            "distill-appendix",
            ("--substitute", "tiny", "--only", "gpt2-120m-from-llama3-8b,bloomz-560m-from-qwen2.5-7b"),
            "run/checkpoints/bloomz-560m-from-qwen2.5-7b",
        ),
        (str(Path(__file__).parent / "mini.yaml"), (), "run/checkpoints/sft+uld+gld-seed0"),
    ],
    ids=["paper", "distill-appendix", "experiment"],
)
def test_ray_gives_the_results_of_serial(
    cluster: None, tmp_path: Path, name: str, arguments: tuple[str, ...], made: str
) -> None:
    """All weights, all responses and all rows are equal, but for times and memory."""
    weights, written, rows = run_named(name, tmp_path, "serial", *arguments)
    assert f"{made}/model.safetensors" in weights
    assert rows
    assert bool(written) == (name != "paper")  # its benchmarks are not evaluated without --data
    assert run_named(name, tmp_path, "ray", *arguments) == (weights, written, rows)


def test_a_cluster_that_does_not_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        run_on_ray([job(tmp_path, "a")], 1, 1, ignore)
