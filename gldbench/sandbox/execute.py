"""Runs each program in a fresh process, and reads what its function returned."""

from __future__ import annotations

import functools
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gldbench.sandbox import inside, launch

Call = tuple[Any, ...] | str
"""positional arguments (plain values) for the entry function, or an expression that the program's process evaluates"""


@dataclass(frozen=True)
class Limits:
    """Limits of one program's process. In the sandbox it can start threads, but no processes."""

    cpu_seconds: int = 10
    """of processor time"""
    wall_seconds: float = 60.0
    """of wall time: it ends programs that sleep, and leaves room for a busy machine"""
    memory_mb: int = 1024
    """address space"""
    output_bytes: int = 4 * 2**20
    """size of all results together; a process that writes more is stopped"""
    threads: int = 32
    """beside the main thread; none where there is no sandbox"""
    value_bytes: int = 32 * 2**20
    """size of the result of one call; a larger one is an error"""


@dataclass(frozen=True)
class Program:
    """A Python module, and the calls to make in it, in order."""

    source: str
    entry: str
    """name of the function to call"""
    calls: tuple[Call, ...]
    setup: str = ""
    """source that runs after the program, in the same module"""
    limits: Limits = Limits()


@dataclass(frozen=True)
class Outcome:
    """The result of one call."""

    status: Literal["ok", "error", "timeout"]
    value: Any = None
    """the returned value, as a plain value or `inside.Opaque`"""
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """The results of one program's process."""

    outcomes: tuple[Outcome, ...]
    """one per call, in order"""
    cpu_seconds: float = 0.0
    """processor time of all calls, as the process itself reports it: believe it of trusted programs only"""
    output_bytes: int = 0


def run_programs(programs: Sequence[Program], workers: int | None = None) -> list[Result]:
    """Runs each program in a process of its own.

    The processes run in the sandbox. Where there is no sandbox, `launch.unsafe_code_allowed` may permit a limited
    process instead.

    Args:
        programs: the programs to run.
        workers: how many run at the same time. Default: one per core.

    Returns:
        The results, in the order of the programs.

    Raises:
        InputError: there is no sandbox, and running without one was not allowed.
    """
    sandboxed = launch.require()
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(lambda program: _run(program, sandboxed), programs))


@functools.cache
def _worker_source() -> str:
    return Path(inside.__file__).read_text(encoding="utf-8")


def _run(program: Program, sandboxed: bool) -> Result:
    job = {
        "source": program.source,
        "setup": program.setup,
        "entry": program.entry,
        "calls": [call if isinstance(call, str) else inside.encode(list(call)) for call in program.calls],
        "value_bytes": program.limits.value_bytes,
        "limits": _resource_limits(program.limits, sandboxed),
    }
    with (
        tempfile.TemporaryDirectory(prefix="gldbench-code-") as folder,
        tempfile.TemporaryFile("w+") as stdin,
        launch.worker(_worker_source(), sandboxed) as (command, descriptors),
    ):
        json.dump(job, stdin)
        stdin.seek(0)
        output, ending = _communicate(command, descriptors, stdin.fileno(), folder, program.limits)
    return _read(output, ending, len(program.calls))


def _resource_limits(limits: Limits, sandboxed: bool) -> dict[str, int]:
    # the kernel counts threads and processes together: the program, and bubblewrap where it runs as the same user
    tasks = limits.threads + 1 + (os.geteuid() != 0) if sandboxed else 0
    return {
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_AS": limits.memory_mb * 2**20,
        "RLIMIT_NPROC": tasks,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NOFILE": 16,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
    }


def _communicate(
    command: list[str], descriptors: tuple[int, ...], stdin: int, folder: str, limits: Limits
) -> tuple[bytes, Outcome]:
    """Runs the process: what it wrote, and the outcome of the calls without a result. Leaves no process behind."""
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=launch.ENVIRONMENT,
        pass_fds=descriptors,
        start_new_session=True,
    )
    assert process.stdout is not None
    output, ending = bytearray(), None
    deadline = time.monotonic() + limits.wall_seconds
    try:
        with process.stdout, selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while ending is None:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    ending = Outcome("timeout", reason=f"the program ran for more than {limits.wall_seconds:g} s")
                elif not (chunk := os.read(process.stdout.fileno(), 2**20)):
                    ending = _ended(process, limits)
                elif len(output) + len(chunk) > limits.output_bytes:
                    ending = Outcome("error", reason=f"the program returned more than {limits.output_bytes} bytes")
                else:
                    output += chunk
    finally:
        _kill(process)
    return bytes(output), ending


def _ended(process: subprocess.Popen[bytes], limits: Limits) -> Outcome:
    """The outcome of the remaining calls, where the process closed its results."""
    state, waited = None, time.monotonic() + 1.0
    while state is None and time.monotonic() < waited:
        # WNOWAIT leaves the ended process in place: its number cannot belong to another process before it is killed
        state = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        time.sleep(0.001)
    # the kernel kills at the limit of processor time; bubblewrap reports a signal as 128 + its number
    if state is not None and state.si_status in (signal.SIGKILL, 128 + signal.SIGKILL):
        return Outcome("timeout", reason=f"the program was killed (limit: {limits.cpu_seconds} s of processor time)")
    return Outcome("error", reason="the program's process ended before it answered")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the process's group. With bubblewrap, its whole process namespace dies too."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(output: bytes, ending: Outcome, calls: int) -> Result:
    lines = output.split(b"\n")[:-1]
    outcomes = [_outcome(line) for line in lines[:calls]]
    cpu_seconds = 0.0
    if len(lines) > calls:
        try:
            word, cpu_seconds = json.loads(lines[calls])
        except (ValueError, TypeError, RecursionError):
            word = None
        if word != "end" or not isinstance(cpu_seconds, float):
            cpu_seconds = 0.0
    outcomes += [ending] * (calls - len(outcomes))
    return Result(tuple(outcomes), cpu_seconds, len(output))


def _outcome(line: bytes) -> Outcome:
    """The outcome in one line of results. Whatever the line holds, it is only read as data."""
    try:
        status, value = json.loads(line)
        if status == "ok":
            return Outcome("ok", inside.decode(value))
    except (ValueError, TypeError, RecursionError, OverflowError):
        status, value = None, None
    if status == "error" and isinstance(value, str):
        return Outcome("error", reason=value[:200])
    return Outcome("error", reason="the program's output is no plain value")
