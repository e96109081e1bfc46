"""Hostile programs as a list, and what happens when a code grader gets them.

Each file in hostile/ defines f(x), which should return x + 1. It returns that value only where its attack succeeds, or
it tries to make a wrong value count as right. The expectation is the same for all: no grader counts the program as
right, the host is as it was, and honest programs among them are right.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from gldbench.grade import evalplus
from gldbench.grade.judges import code
from gldbench.sandbox import Limits

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
class HostileProgram:
    """One program."""

    name: str
    source: str
    """with marks such as @FOLDER@ in the place of what it tries to reach"""
    expectation: Literal["wrong"] = "wrong"
    """what every grader has to say"""

    @property
    def uses_package(self) -> bool:
        """Whether it needs one of the packages that the sandbox offers."""
        return _PACKAGE.search(self.source) is not None


PROGRAMS = tuple(
    HostileProgram(path.stem, path.read_text()) for path in sorted((Path(__file__).parent / "hostile").glob("*.py"))
)


@dataclass(frozen=True)
class Judged:
    """What a grader says about a program."""

    right: bool
    right_base: bool
    status: str
    reason: str


@dataclass(frozen=True)
class Attack:
    """What happened when one grader got all programs, and an honest one before and after them."""

    judged: dict[str, Judged]
    """name of the program, or "first" and "last" for the honest ones"""
    before: dict[str, Any]
    after: dict[str, Any]
    left: set[int]
    """processes that are left"""
    alive: bool
    """whether the process survived that the programs try to kill"""
    connections: list[Any]
    """to the server that the programs try to reach"""
    seconds: float

    def failures(self) -> list[str]:
        """What went wrong, as sentences. Empty where all is well."""
        found = [f"{name} counts as right" for name, own in self.judged.items() if name not in ENDS and own.right]
        found += [f"{name} counts as right on the base tests" for name, own in self.judged.items()
                  if name not in ENDS and own.right_base]  # fmt: skip
        found += [f"the {name} honest program counts as wrong" for name in ENDS if not self.judged[name].right]
        found += ["the host has changed"] * (self.after != self.before)
        found += ["processes are left"] * bool(self.left)
        found += ["a process of the host was killed"] * (not self.alive)
        return found + ["a program reached a server"] * bool(self.connections)


ENDS = ("first", "last")


def _limits(source: str) -> Limits:
    """Limits that a test can wait for. On a busy machine the wall time is longer, so that others come first."""
    busy = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
    if _PACKAGE.search(source):  # importing a package takes up to a second
        return Limits(cpu_seconds=5, wall_seconds=30 * busy, memory_mb=512, output_bytes=16 * 2**20)
    return Limits(cpu_seconds=2, wall_seconds=8 * busy, memory_mb=512, output_bytes=16 * 2**20)


def _ours(sources: Sequence[str]) -> list[Judged]:
    (problem,) = code.prepare([RECORD])
    problems = [replace(problem, limits=_limits(source)) for source in sources]
    verdicts = code.check_candidates(problems, sources)
    return [Judged(own.right, own.right_base, own.status, own.reason) for own in verdicts]


def _evalplus(sources: Sequence[str]) -> list[Judged]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evalplus, "_PROGRAM", _limits("import numpy"))
        found = evalplus.check_solutions("humaneval", [RECORD] * len(sources), sources)
    return [
        Judged(set(parts.values()) == {"pass"}, parts["base"] == "pass", parts["base"].partition(":")[0], parts["base"])
        for parts in found
    ]


GRADERS: dict[str, Callable[[Sequence[str]], list[Judged]]] = {"ours": _ours, "evalplus": _evalplus}


def attack(grader: str, folder: Path, scratch: Path, programs: Sequence[HostileProgram] = PROGRAMS) -> Attack:
    """Gives all programs to a grader at once, as answers to one problem.

    Args:
        grader: key of GRADERS.
        folder: an empty folder, which stands for the files of the host.
        scratch: an empty folder, in which temporary files are made meanwhile.
        programs: the programs.
    """
    libc = ctypes.CDLL(None)
    with pytest.MonkeyPatch.context() as patch, host(folder) as target:
        patch.setattr(tempfile, "tempdir", str(scratch))
        patch.setenv("GLDBENCH_SECRET", "secret")
        libc.prctl(CHILD_SUBREAPER, 1, 0, 0, 0)
        before, born = state(folder, scratch), children()
        started = time.monotonic()
        sources = [HONEST, *(fill(program.source, target) for program in programs), HONEST]
        judged = GRADERS[grader](sources)
        seconds = time.monotonic() - started
        deadline = time.monotonic() + 5
        while children() != born and time.monotonic() < deadline:
            time.sleep(0.01)
        left, after = children() - born, state(folder, scratch)
        libc.prctl(CHILD_SUBREAPER, 0, 0, 0, 0)
        reap()
        alive = target.process.poll() is None
    names = ["first", *(program.name for program in programs), "last"]
    by_name = dict(zip(names, judged, strict=True))
    return Attack(by_name, before, after, left, alive, target.connections, seconds)


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
