"""One process with limits: it is started, its output goes to a file, and nothing of it is left."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import IO

from gldbench.sandbox import launch
from gldbench.sandbox.plain import Outcome

_CHUNK = 2**16


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
    file_bytes: int = 0
    """size of a file that it may write, where it can write anywhere"""
    files: int = 16
    """descriptors that it may have open"""

    def resources(self, sandboxed: bool) -> dict[str, int]:
        """Name of each limit of the kernel -> its value."""
        # the kernel counts threads and processes together: the program, and bubblewrap where it runs as the same user
        tasks = self.threads + 1 + (os.geteuid() != 0) if sandboxed else 0
        return {
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_AS": self.memory_mb * 2**20,
            "RLIMIT_NPROC": tasks,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.files,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
        }


def communicate(
    command: list[str], descriptors: tuple[int, ...], stdin: int, output: IO[bytes], folder: str, limits: Limits
) -> Outcome:
    """Runs the process, whose results go to the file `output`. Leaves no process behind.

    Args:
        command: the command line.
        descriptors: descriptors that it inherits.
        stdin: descriptor of its standard input.
        output: file that takes its standard output, at most `limits.output_bytes`.
        folder: its working folder, where it is not in a sandbox.
        limits: the limits that this process watches: wall time and size of the output.

    Returns:
        The outcome of the calls without a result.
    """
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
    size, ending = 0, None
    deadline = time.monotonic() + limits.wall_seconds
    try:
        with process.stdout, selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while ending is None:
                # the deadline also ends a process that never stops writing
                if not selector.select(max(0.0, deadline - time.monotonic())) or time.monotonic() > deadline:
                    ending = Outcome("timeout", reason=f"the program ran for more than {limits.wall_seconds:g} s")
                elif not (chunk := os.read(process.stdout.fileno(), _CHUNK)):
                    ending = _ended(process, limits)
                elif (size := size + len(chunk)) > limits.output_bytes:
                    ending = Outcome("error", reason=f"the program returned more than {limits.output_bytes} bytes")
                else:
                    output.write(chunk)
    finally:
        _kill(process)
    return ending


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
