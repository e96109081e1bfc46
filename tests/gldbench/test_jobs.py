"""Jobs: order, resumption, failure, and workers that die with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gldbench import jobs
from gldbench.engines import engine_named
from gldbench.jobs import Job, Ran, run_jobs
from gldfusion.errors import InputError


def write(path: Path, needs: list[Path], progress: Callable[[int, int], None]) -> None:
    assert all(need.exists() for need in needs)
    progress(1, 2)
    path.write_text(str(os.environ.get("OMP_NUM_THREADS")))


def fail(progress: Callable[[int, int], None]) -> None:
    raise InputError("what is wrong\nhow to mend it")


def die(progress: Callable[[int, int], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_telling(progress: Callable[[int, int], None]) -> None:
    queue: Any = jobs._progress
    queue._wlock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(path: Path, progress: Callable[[int, int], None]) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(60)


def job(tmp_path: Path, name: str, *needs: str) -> Job:
    path = tmp_path / name
    return Job(name, write, {"path": path, "needs": [tmp_path / n for n in needs]}, path.exists, needs)


def ignore(name: str, done: int, total: int) -> None:
    pass


def test_the_engine_ray_says_how_to_install_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gldbench.ray_engine.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package ray\ninstall it: pip install 'gldbench\[ray\]'"):
        engine_named("ray")([job(tmp_path, "a")], 1, 1, ignore)


def test_jobs_run_after_what_they_need_and_only_once(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "c", "a", "b"), job(tmp_path, "b", "a"), job(tmp_path, "a")]
    seen: list[tuple[str, int, int]] = []
    ran = run_jobs(jobs, 2, 1, lambda *report: seen.append(report))
    assert list(ran.seconds) == ["a", "b", "c"]
    assert 0 < sum(ran.seconds.values()) < 2 * (ran.elapsed - ran.start)
    assert ("a", 1, 1) in seen
    assert run_jobs(jobs, 2, 1, ignore) == Ran()
    (tmp_path / "b").unlink()
    assert list(run_jobs(jobs, 2, 1, ignore).seconds) == ["b"]


def test_a_failed_job_stops_the_rest_and_is_told(tmp_path: Path) -> None:
    bad = Job("bad", fail, {}, lambda: False)
    with pytest.raises(InputError, match="what is wrong\nhow to mend it"):
        run_jobs([bad, job(tmp_path, "after", "bad")], 1, 1, ignore)
    assert not (tmp_path / "after").exists()


def test_a_killed_worker_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the system killed a worker process"):
        run_jobs([Job("bad", die, {}, lambda: False)], 1, 1, ignore)


def test_a_worker_that_is_killed_while_it_tells_its_progress_does_not_block_the_run() -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            run_jobs([Job("bad", die_while_telling, {}, lambda: False)], 1, 1, ignore)
        except InputError as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert "the system killed a worker process" in str(errors[0])


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nimport test_jobs\nfrom gldbench.jobs import Job, run_jobs\n"
        f"path = Path({str(path)!r})\n"
        "if __name__ == '__main__':\n"
        "    run_jobs([Job('long', test_jobs.sleep, {'path': path}, path.exists)], 1, 1, test_jobs.ignore)\n"
    )
    (tmp_path / "main.py").write_text(script)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py")])
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    worker = int(path.read_text())
    parent.kill()
    parent.wait()
    while psutil.pid_exists(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not psutil.pid_exists(worker)
