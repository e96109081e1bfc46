"""Starts processes in the sandbox: bubblewrap's command line, and what happens where there is no bubblewrap."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from gldbench.sandbox import packages
from gldbench.sandbox.seccomp import filter_program
from gldfusion.errors import InputError

NOBODY = "65534"
_USERS = range(61_184, 65_520)
"""ids of users that systemd keeps free. Where we are root, each sandbox takes the next one, because the kernel counts
the threads of a user and not those of a sandbox"""
PYTHON_FLAGS = ("-s", "-S", "-B", "-W", "ignore")
"""not -I, with which Python ignores PYTHONHASHSEED; the environment holds nothing else"""
UNSAFE = "unsafe-code: run in a limited process, not in a sandbox"
"""part of the reason in every row that was made without a sandbox"""
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "PYTHONHASHSEED": "0"}
"""for the process of a program: else every thread takes 64 MiB of the address space, and the order of sets of texts, on
which some programs depend, is another one each time. `inside.py` removes them before a program runs"""
_FIX = "install bubblewrap (`make system`), or pass --unsafe-code to run code of models without a sandbox"

_unsafe_allowed: ContextVar[bool] = ContextVar("unsafe_allowed", default=False)


@dataclass(frozen=True)
class View:
    """What a sandbox shows of the host. All of it is read-only."""

    paths: tuple[Path, ...]
    """files and folders, which have the same paths inside; missing ones are left out"""
    bindings: tuple[packages.Binding, ...] = ()
    """(path on the host, path inside) of what has another path inside; missing ones are left out"""
    writable_mb: int = 0
    """MiB of an empty /tmp and of an empty /dev/shm, both in memory; 0: programs can write nowhere"""
    processes: bool = False
    """allow new processes, and show a /proc with the sandbox's own processes; else threads only"""


def bwrap_command(
    view: View, command: Sequence[str], filter_fd: int | None, root: bool, user_id: str = NOBODY
) -> list[str]:
    """bubblewrap's command line for a command.

    For an ordinary user bubblewrap makes a user namespace. For root it must not make one: the processes would still
    count as processes of root, to whom the limit on processes does not apply. There the command runs as another user.

    Args:
        view: what the sandbox shows.
        command: the command to run inside.
        filter_fd: descriptor from which bubblewrap reads the filter of system calls; None for no filter.
        root: whether the caller is root.
        user_id: number of the user as whom the command runs.
    """
    user = [] if root else ["--unshare-user", "--uid", user_id, "--gid", user_id]
    line = [
        shutil.which("bwrap") or "bwrap",
        *user,
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"),
        *("--cap-drop", "ALL"),
    ]
    for name, value in ENVIRONMENT.items() if not view.processes else ():
        line += ["--setenv", name, value]
    if root:
        line += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    devices = [Path("/dev/null"), Path("/dev/urandom")]
    writable = [Path("/tmp"), Path("/dev/shm")] if view.writable_mb else []
    above = _folders_above(
        [*view.paths, *(place for _, place in view.bindings), *devices]
    )  # bubblewrap would make them readable by root only
    later = [folder for folder in above if any(folder.is_relative_to(place) for place in writable)]
    for folder in [folder for folder in above if folder not in later]:
        line += ["--perms", "0755", "--dir", str(folder)]
    for place in writable:
        line += ["--perms", "1777", "--size", str(view.writable_mb * 2**20), "--tmpfs", str(place)]
    for folder in [folder for folder in later if folder not in writable]:  # our Python environment may lie below /tmp
        line += ["--perms", "0755", "--dir", str(folder)]
    for source, place in [*((path, path) for path in view.paths), *view.bindings]:
        line += ["--ro-bind-try", str(source), str(place)]
    for device in devices:
        line += ["--dev-bind", str(device), str(device)]
    line += ["--proc", "/proc"] if view.processes else []
    line += ["--remount-ro", "/", "--chdir", "/tmp" if view.writable_mb else "/"]
    if filter_fd is not None:
        line += ["--seccomp", str(filter_fd)]
    change = ["/usr/bin/setpriv", f"--reuid={user_id}", f"--regid={user_id}", "--clear-groups"] if root else []
    return [*line, "--", *change, *command]


def _folders_above(paths: Sequence[Path]) -> list[Path]:
    """Every folder above the paths, outer ones first."""
    return sorted({folder for path in paths for folder in path.parents if folder != Path("/")})


@functools.cache
def system_python() -> Path | None:
    """The system's own python3: a sandbox can show it without showing any home folder. None where there is none."""
    path = Path("/usr/bin/python3")
    return path.resolve() if path.exists() else None


def system_view(python: Path) -> View:
    """Shows python3, its standard library and the shared libraries, without a shell, /etc, /proc and home folders."""
    return View((python, *system_libraries()))


def own_view() -> View:
    """Shows our environment, the Python that it is based on, and the system's libraries, with a /tmp in memory."""
    return View((*system_libraries(), Path(sys.prefix), Path(sys.base_prefix)), writable_mb=1024, processes=True)


def system_libraries() -> tuple[Path, ...]:
    """The shared libraries, and where the caller is root also the program with which it becomes nobody."""
    libraries = [Path(place) for place in ("/usr/lib", "/usr/lib64", "/lib", "/lib64")]
    return (*libraries, *([Path("/usr/bin/setpriv")] if os.geteuid() == 0 else []))


_turns = itertools.count()


def _next_user() -> str:
    """The number of a user that no other sandbox of this process has now. Processes begin at different numbers."""
    return str(_USERS[(os.getpid() * 61 + next(_turns)) % len(_USERS)])


@contextmanager
def shut_in(view: View, command: Sequence[str]) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """The command line that runs the command in a sandbox, and the descriptors that it must inherit."""
    root, program = os.geteuid() == 0, filter_program(threads_only=not view.processes)
    user_id = _next_user() if root else NOBODY
    if program is None:
        yield bwrap_command(view, command, None, root, user_id), ()
        return
    reader, writer = os.pipe()  # the whole filter fits into the buffer of a pipe
    try:
        os.write(writer, program)
        os.close(writer)
        yield bwrap_command(view, command, reader, root, user_id), (reader,)
    finally:
        os.close(reader)


@functools.cache
def trouble() -> str:
    """Why the sandbox does not work on this machine. "" where it works. Tries it once."""
    if shutil.which("bwrap") is None:
        return "bubblewrap (bwrap) is not installed"
    python = system_python()
    if python is None:
        return "there is no /usr/bin/python3 to run inside the sandbox"
    with shut_in(system_view(python), [str(python), *PYTHON_FLAGS, "-c", "print(6 * 7)"]) as (line, descriptors):
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=20, pass_fds=descriptors, check=False)
        except subprocess.TimeoutExpired:
            return "bubblewrap did not start within 20 s"
    if done.returncode or done.stdout != "42\n":
        return f"bubblewrap does not work here: {' '.join(done.stderr.split())[:160] or f'status {done.returncode}'}"
    return ""


_IMPORTS = """
import importlib, json, os, sys
sys.path.append(sys.argv[1])
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.putenv(name, "1")
works = []
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
        works.append(name)
    except Exception:
        pass
print(json.dumps(works))
"""


def _importable(bindings: tuple[packages.Binding, ...], names: Sequence[str]) -> list[str]:
    """The packages that a sandbox with these bindings can import. Tries it."""
    python = system_python()
    assert python is not None, "require() came first"
    view = View(system_view(python).paths, bindings)
    command = [str(python), *PYTHON_FLAGS, "-c", _IMPORTS, str(packages.PLACE), *names]
    with shut_in(view, command) as (line, descriptors):
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=120, pass_fds=descriptors, check=False)
            return [name for name in json.loads(done.stdout) if name in names]
        except (subprocess.TimeoutExpired, ValueError):
            return []


@functools.cache
def _packages() -> tuple[tuple[str, ...], tuple[packages.Binding, ...]]:
    return packages.choose(packages.folders(), _importable)


def offered() -> tuple[str, ...]:
    """The packages beside the standard library that programs can import in the sandbox. Tries it once."""
    return _packages()[0]


@contextmanager
def unsafe_code_allowed() -> Iterator[None]:
    """Within this block, code runs in a limited process where there is no sandbox (option `--unsafe-code`)."""
    token = _unsafe_allowed.set(True)
    try:
        yield
    finally:
        _unsafe_allowed.reset(token)


def require() -> bool:
    """True where the sandbox works. False where it does not work and `unsafe_code_allowed` permits to run without it.

    Raises:
        InputError: there is no sandbox, and running without one was not allowed.
    """
    reason = trouble()
    if reason and not _unsafe_allowed.get():
        raise InputError(f"code that models wrote needs a sandbox: {reason}\n{_FIX}")
    return not reason


@contextmanager
def worker(source: str, sandboxed: bool, own_python: bool = False) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """The command line of a Python process that runs the source, and the descriptors that it must inherit.

    Args:
        source: text of the program `inside.py`.
        sandboxed: run it in the sandbox, and not as an ordinary process.
        own_python: in the sandbox, use our own environment and let it start processes and write below /tmp.
    """
    own = [sys.executable, *PYTHON_FLAGS, "-c", source, sysconfig.get_path("platlib")]  # with all our packages
    if not sandboxed:
        yield own, ()
    elif own_python:
        with shut_in(own_view(), own) as launched:
            yield launched
    else:
        python = system_python()
        assert python is not None, "require() came first"
        view = View(system_view(python).paths, _packages()[1])
        with shut_in(view, [str(python), *PYTHON_FLAGS, "-c", source, str(packages.PLACE)]) as launched:
            yield launched
