"""Runs programs, one fresh process each, and reads back what their functions returned."""

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
"""positional arguments (plain values) for the entry, or an expression that is evaluated where the program lives"""


@dataclass(frozen=True)
class Limits:
    """Bounds of one program's process; no child and no thread is ever allowed."""

    cpu_seconds: int = 10
    wall_seconds: float = 60.0
    """a machine with other work may be slow; a program that sleeps ends here"""
    memory_mb: int = 1024
    """address space"""
    output_bytes: int = 4 * 2**20
    """of results, after which the process is stopped"""
    value_bytes: int = 32 * 2**20
    """of one call's result; a larger one is an error"""


@dataclass(frozen=True)
class Program:
    """A Python module and the calls to be made in it, in order."""

    source: str
    entry: str
    calls: tuple[Call, ...]
    setup: str = ""
    """run after the source, in the same module"""
    limits: Limits = Limits()


@dataclass(frozen=True)
class Outcome:
    """What one call came to."""

    status: Literal["ok", "error", "timeout"]
    value: Any = None
    """what was returned, as a plain value or `inside.Opaque`"""
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """What a program's process came to."""

    outcomes: tuple[Outcome, ...]
    """one per call, in order"""
    cpu_seconds: float = 0.0
    """of all calls, as the process itself says: to be believed of trusted programs only"""
    output_bytes: int = 0


def run_programs(programs: Sequence[Program], workers: int | None = None) -> list[Result]:
    """Runs each program in a process of its own, `workers` at a time (default: one per core).

    In the sandbox; in a limited process where there is none and `launch.unsafe_code_allowed` permits it.

    Raises:
        InputError: no sandbox can be had, and nobody allowed to do without.
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
        "limits": _resource_limits(program.limits),
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


def _resource_limits(limits: Limits) -> dict[str, int]:
    return {
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_AS": limits.memory_mb * 2**20,
        "RLIMIT_NPROC": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NOFILE": 16,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
    }


def _communicate(
    command: list[str], descriptors: tuple[int, ...], stdin: int, folder: str, limits: Limits
) -> tuple[bytes, Outcome]:
    """The process's results, and the outcome of the calls that have none. Leaves no process behind."""
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={},
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
    """Why a process that closed its results answered no more."""
    state, waited = None, time.monotonic() + 1.0
    while state is None and time.monotonic() < waited:
        # looked at, not waited for: until then its number cannot belong to anything else
        state = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        time.sleep(0.001)
    # the limit on processor time kills; bubblewrap passes a signal on as 128 + its number
    if state is not None and state.si_status in (signal.SIGKILL, 128 + signal.SIGKILL):
        return Outcome("timeout", reason=f"the program was killed (limit: {limits.cpu_seconds} s of processor time)")
    return Outcome("error", reason="the program's process ended before it answered")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the process's group; with bubblewrap, its whole process namespace dies with it."""
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
    """One line of a result; whatever it holds, it is data."""
    try:
        status, value = json.loads(line)
        if status == "ok":
            return Outcome("ok", inside.decode(value))
    except (ValueError, TypeError, RecursionError, OverflowError):
        status, value = None, None
    if status == "error" and isinstance(value, str):
        return Outcome("error", reason=value[:200])
    return Outcome("error", reason="the program's output is no plain value")
