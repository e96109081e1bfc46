"""Hostile programs score 0 and leave the host unchanged.

Each file in hostile/ defines f(x), which should return x + 1. It returns that value only where its attack succeeds, or
it tries to make a wrong value count as right. All programs run at once, as answers to one problem.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gldbench import sandbox
from gldbench.grade.judges import code
from gldbench.grade.programs.code_problem import Verdict
from gldbench.sandbox import Result

PROGRAMS = sorted((Path(__file__).parent / "hostile").glob("*.py"))
NAMES = [path.stem for path in PROGRAMS]
REPOSITORY = Path(__file__).resolve().parents[3]
RECORD = {
    "task_id": "Hostile/0",
    "prompt": 'def f(x):\n    """The next number."""\n',
    "entry_point": "f",
    "canonical_solution": "    return x + 1\n",
    "base_input": [[1], [2]],
    "plus_input": [[3], [41]],
    "atol": 0,
}
HONEST = "def f(x):\n    return x + 1\n"
_PACKAGE = re.compile(r"^(?:import|from) (?:numpy|pandas|scipy|sympy)\b", re.MULTILINE)
CHILD_SUBREAPER = 36
"""option of prctl: orphans of this process become its children, so that a survivor is found"""


@dataclass(frozen=True)
class Host:
    """What the programs try to reach on the host."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    connections: list[Any]


@contextmanager
def host(folder: Path) -> Iterator[Host]:
    """A folder with a precious file, a process and a server. All of them have to survive."""
    folder.chmod(0o777)  # only the sandbox protects it, whoever the programs run as
    (folder / "precious").write_text("precious")
    (folder / "precious").chmod(0o666)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as local:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        local.bind(f"\0gldbench-hostile-{port}")
        for listener in (server, local):
            listener.listen()
            listener.setblocking(False)
        connections: list[Any] = []
        yield Host(folder, port, process, connections)
        for listener in (server, local):
            try:
                connections.append(listener.accept())
            except BlockingIOError:
                continue
    process.kill()
    process.wait()


def state(folder: Path, scratch: Path) -> dict[str, Any]:
    """The state of everything that a program could have changed."""
    return {
        "files": sorted((str(path), path.stat().st_mtime_ns, path.stat().st_mode) for path in folder.rglob("*")),
        "folder": (folder.stat().st_mtime_ns, folder.stat().st_mode),
        "scratch": sorted(str(path) for path in scratch.rglob("*")),
        "planted": [str(path) for place in _PLACES for path in Path(place).glob("written-by-a-hostile-program")],
        "library": (Path("/usr/lib").stat().st_mtime_ns, Path("/usr/lib").stat().st_mode),
        "segments": [Path(f"/proc/sysvipc/{kind}").read_text().count("\n") for kind in ("shm", "msg", "sem")],
        "host": socket.gethostname(),
    }


_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/", "/usr/lib", "/work", str(Path.home()), str(Path.cwd()))


def listed() -> dict[int, str]:
    """The state of each child of this process and adopted orphan. A thread or child may end while we look."""
    states = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for number in map(int, (task / "children").read_text().split()):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    states[number] = Path(f"/proc/{number}/stat").read_text().split(") ")[1][0]
    return states


def children() -> set[int]:
    """The living children of this process and adopted orphans. Ended ones do not count."""
    return {number for number, state in listed().items() if state != "Z"}


def reap() -> None:
    """Waits for adopted orphans that have ended, so that no zombies are left to this process."""
    for number, state in listed().items():
        if state == "Z":
            os.waitpid(number, 0)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Runs all programs, and an honest program before and after them."""
    if reason := sandbox.trouble():
        pytest.skip(f"no sandbox: {reason}")
    root, scratch = tmp_path_factory.mktemp("host"), tmp_path_factory.mktemp("scratch")
    libc = ctypes.CDLL(None)
    with pytest.MonkeyPatch.context() as patch, host(root) as target:
        patch.setattr(tempfile, "tempdir", str(scratch))
        patch.setenv("GLDBENCH_SECRET", "secret")
        libc.prctl(CHILD_SUBREAPER, 1, 0, 0, 0)
        before, born = state(root, scratch), children()
        started = time.monotonic()
        results, verdicts = run([HONEST, *(fill(path.read_text(), target) for path in PROGRAMS), HONEST])
        seconds = time.monotonic() - started
        deadline = time.monotonic() + 5
        while children() != born and time.monotonic() < deadline:
            time.sleep(0.01)
        left, after = children() - born, state(root, scratch)
        libc.prctl(CHILD_SUBREAPER, 0, 0, 0, 0)
        reap()
        alive = target.process.poll() is None
    return {
        "results": dict(zip(["first", *NAMES, "last"], results, strict=True)),
        "verdicts": dict(zip(["first", *NAMES, "last"], verdicts, strict=True)),
        "before": before, "after": after, "left": left, "alive": alive, "seconds": seconds,
        "connections": target.connections,
    }  # fmt: skip


def fill(source: str, target: Host) -> str:
    """The source of a program with the names of its targets filled in."""
    values = {
        "@FOLDER@": target.folder,
        "@PORT@": target.port,
        "@PID@": target.process.pid,
        "@REPOSITORY@": REPOSITORY,
        "@PACKAGES@": sysconfig.get_paths()["purelib"],
    }
    for name, value in values.items():
        source = source.replace(name, str(value))
    return source


def run(sources: list[str]) -> tuple[list[Result], list[Verdict]]:
    """Runs the programs as answers to the problem, with limits that a test can wait for."""
    (problem,) = code.prepare([RECORD])
    short = replace(problem.limits, cpu_seconds=1, wall_seconds=6, memory_mb=512)
    long = replace(short, cpu_seconds=5, wall_seconds=30)  # importing a package takes up to a second
    problems = [replace(problem, limits=long if _PACKAGE.search(source) else short) for source in sources]
    results = code.run_candidates(problems, sources)
    return results, code.judge_results(problems, results)


def test_there_are_enough() -> None:
    assert len(NAMES) >= 30


@pytest.mark.parametrize("name", NAMES)
def test_it_scores_nothing(ran: dict[str, Any], name: str) -> None:
    verdict = ran["verdicts"][name]
    assert not verdict.right
    assert not verdict.right_base
    assert ran["results"][name].outcomes != ran["results"]["first"].outcomes


@pytest.mark.parametrize("name", [path.stem for path in PROGRAMS if _PACKAGE.search(path.read_text())])
def test_an_attack_through_a_package_gets_as_far_as_the_package(ran: dict[str, Any], name: str) -> None:
    if len(sandbox.offered()) < 4:
        pytest.skip(f"not all packages are installed: {', '.join(sandbox.offered()) or 'none is'}")
    assert "module:" not in ran["results"][name].outcomes[0].reason
    assert "defining" not in ran["results"][name].outcomes[0].reason


@pytest.mark.parametrize("name", ["first", "last"])
def test_an_honest_program_among_them_passes(ran: dict[str, Any], name: str) -> None:
    """It would fail if the limits were too strict, or if a hostile program had damaged the host."""
    assert ran["verdicts"][name].right, ran["results"][name]


def test_the_host_is_as_it_was(ran: dict[str, Any]) -> None:
    assert ran["after"] == ran["before"]
    assert ran["connections"] == []
    assert ran["alive"]


def test_nothing_survives(ran: dict[str, Any]) -> None:
    assert ran["left"] == set()


def test_it_takes_less_than_a_minute(ran: dict[str, Any]) -> None:
    """Less than a minute on two idle cores, and longer on a busy machine."""
    assert ran["seconds"] < 60 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("endless_loop", "timeout", "processor time"),
        ("deaf_loop", "timeout", "processor time"),
        ("sleeper", "timeout", "more than 6 s"),
        ("memory_bomb", "error", "MemoryError"),
        ("huge_output", "error", "returned more than"),
        ("exit_at_import", "error", "ended before it answered"),
        ("fork_bomb", "error", "BlockingIOError"),
        ("threads", "error", "RuntimeError"),
        ("segments", "ok", ""),
        ("numpy_memory", "error", "MemoryError"),
        ("numpy_threads", "timeout", "processor time"),
    ],
)
def test_what_stopped_it_is_named(ran: dict[str, Any], name: str, status: str, words: str) -> None:
    outcome = ran["results"][name].outcomes[0]
    assert outcome.status == status
    assert words in outcome.reason
