"""How a process is shut in: bubblewrap's command line, and what is done where there is no bubblewrap."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from gldbench.sandbox.seccomp import filter_program
from gldfusion.errors import InputError

NOBODY = "65534"
PYTHON_FLAGS = ("-I", "-S", "-E", "-B", "-W", "ignore")
UNSAFE = "unsafe-code: run in a limited process, not in a sandbox"
"""the reason on every row that was made without a sandbox"""
_FIX = "install bubblewrap (`make system`), or pass --unsafe-code to run model-written code without a sandbox"

_unsafe_allowed: ContextVar[bool] = ContextVar("unsafe_allowed", default=False)


@dataclass(frozen=True)
class View:
    """What a sandbox shows of the host; all of it read-only."""

    paths: tuple[Path, ...]
    """files and folders, at the same place inside; those that are not there are left out"""
    writable_mb: int = 0
    """size of an empty /tmp and of an empty /dev/shm, in memory; 0: there is no place to write to"""
    processes: bool = False
    """a /proc of the sandbox's own processes"""


def bwrap_command(view: View, command: Sequence[str], filter_fd: int | None, root: bool) -> list[str]:
    """bubblewrap's command line for `command`.

    An ordinary user gets a user namespace of its own. Root does not need one, and must not have one: its processes
    would still count as root's, whom the limit on processes does not bind; it becomes nobody inside instead.
    """
    user = [] if root else ["--unshare-user", "--uid", NOBODY, "--gid", NOBODY]
    line = [
        shutil.which("bwrap") or "bwrap",
        *user,
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"),
        *("--cap-drop", "ALL"),
    ]
    if root:
        line += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    devices = [Path("/dev/null"), Path("/dev/urandom")]
    writable = [Path("/tmp"), Path("/dev/shm")] if view.writable_mb else []
    above = _folders_above([*view.paths, *devices])  # bubblewrap would make them root's alone
    later = [folder for folder in above if any(folder.is_relative_to(place) for place in writable)]
    for folder in [folder for folder in above if folder not in later]:
        line += ["--perms", "0755", "--dir", str(folder)]
    for place in writable:
        line += ["--perms", "1777", "--size", str(view.writable_mb * 2**20), "--tmpfs", str(place)]
    for folder in [folder for folder in later if folder not in writable]:  # our environment may lie below /tmp
        line += ["--perms", "0755", "--dir", str(folder)]
    for path in view.paths:
        line += ["--ro-bind-try", str(path), str(path)]
    for device in devices:
        line += ["--dev-bind", str(device), str(device)]
    line += ["--proc", "/proc"] if view.processes else []
    line += ["--remount-ro", "/", "--chdir", "/tmp" if view.writable_mb else "/"]
    if filter_fd is not None:
        line += ["--seccomp", str(filter_fd)]
    change = ["/usr/bin/setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if root else []
    return [*line, "--", *change, *command]


def _folders_above(paths: Sequence[Path]) -> list[Path]:
    """Every folder on the way to the paths, outer ones first."""
    return sorted({folder for path in paths for folder in path.parents if folder != Path("/")})


@functools.cache
def system_python() -> Path | None:
    """The system's own python3, which a sandbox can show without showing anybody's home."""
    path = Path("/usr/bin/python3")
    return path.resolve() if path.exists() else None


def system_view(python: Path) -> View:
    """The system's python3, its standard library and the shared libraries: no shell, no /etc, no /proc, no home."""
    return View((python, *system_libraries()))


def system_libraries() -> tuple[Path, ...]:
    """Shared libraries, and what root needs to become nobody."""
    libraries = [Path(place) for place in ("/usr/lib", "/usr/lib64", "/lib", "/lib64")]
    return (*libraries, *([Path("/usr/bin/setpriv")] if os.geteuid() == 0 else []))


@contextmanager
def shut_in(view: View, command: Sequence[str]) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """The command line that runs `command` in a sandbox, and the descriptors that it has to inherit."""
    program = filter_program()
    if program is None:
        yield bwrap_command(view, command, None, os.geteuid() == 0), ()
        return
    reader, writer = os.pipe()  # the filter is smaller than a pipe: bubblewrap reads it to its end
    try:
        os.write(writer, program)
        os.close(writer)
        yield bwrap_command(view, command, reader, os.geteuid() == 0), (reader,)
    finally:
        os.close(reader)


@functools.cache
def trouble() -> str:
    """Why no sandbox can be had on this machine; "" where one works. Looks once."""
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


@contextmanager
def unsafe_code_allowed() -> Iterator[None]:
    """`--unsafe-code`: within this block, code runs in a limited process where no sandbox can be had."""
    token = _unsafe_allowed.set(True)
    try:
        yield
    finally:
        _unsafe_allowed.reset(token)


def require() -> bool:
    """True where the sandbox works, False where it does not and `unsafe_code_allowed` says to go on without.

    Raises:
        InputError: no sandbox, and nobody allowed to do without.
    """
    reason = trouble()
    if reason and not _unsafe_allowed.get():
        raise InputError(f"model-written code needs a sandbox: {reason}\n{_FIX}")
    return not reason


@contextmanager
def worker(source: str, sandboxed: bool) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """The command line of a Python process that runs `source`, and the descriptors that it has to inherit."""
    if not sandboxed:
        yield [sys.executable, *PYTHON_FLAGS, "-c", source], ()
        return
    python = system_python()
    assert python is not None, "require() came first"
    with shut_in(system_view(python), [str(python), *PYTHON_FLAGS, "-c", source]) as launched:
        yield launched
