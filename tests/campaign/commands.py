"""Runs the command line: in a new process, or in a child of a server that has imported torch already.

A child of the server runs the same `gldbench.cli.main` on the same arguments. It saves the ten seconds that the imports
take, so that a kill falls into the work and not into the imports.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

WALL_SECONDS = 900.0
"""a command that takes longer hangs, whatever else the machine does"""
LOOK_SECONDS = 0.2
"""between two looks at the processor time of a command"""
CODES = (0, 1, 2, 3, 130, 143)
"""the exit codes that the command line may have"""
LONGEST_MESSAGE = 3
"""lines of an error message"""
SURVIVE_SECONDS = 30.0
"""workers of a killed command end within this time"""
REPOSITORY = Path(__file__).resolve().parents[2]
LOADED = "tests.campaign.loaded"
"""the module that the server imports"""


@dataclasses.dataclass(frozen=True)
class Done:
    """An ended command."""

    code: int
    """exit code; the negative number of the signal that ended it"""
    out: str
    err: str
    seconds: float
    killed: bool = False
    """whether it was still running when the signal was sent"""
    survivors: int = 0
    """how many of its processes were still there some time after it had ended"""

    @property
    def message(self) -> list[str]:
        """The lines of its error message: from "error:" to the end."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        starts = [place for place, line in enumerate(lines) if line.startswith("error: ")]
        return lines[starts[0] :] if starts else []


Change = tuple[str, str, object]
"""(module, name, value)"""


@dataclasses.dataclass(frozen=True)
class Kill:
    """A signal, and when it is sent."""

    after: float
    """seconds after the start"""
    number: int = signal.SIGKILL


def environment() -> dict[str, str]:
    """The environment of every command: one thread, no network, and this source tree first."""
    paths = [str(REPOSITORY), str(REPOSITORY / "reference")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "COLUMNS": "200",
    }


def fresh(arguments: Sequence[str], folder: Path, kill: Kill | None = None, cpu: float = WALL_SECONDS) -> Done:
    """Runs a command in a new process.

    Args:
        arguments: the arguments after `gldbench`.
        folder: the working folder.
        kill: a signal to send; None: none.
        cpu: seconds of processor time after which the command counts as hanging and is killed; its code is then that
            of SIGALRM. Wall time would depend on what else the machine does.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "gldbench.cli", *arguments],
            cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip
        killed, workers = False, []
        try:
            if _ended(process.pid, lambda: process.poll() is not None, kill.after if kill else WALL_SECONDS, cpu):
                code = process.returncode
            else:
                killed = kill is not None
                workers = _descendants(process.pid)
                process.send_signal(kill.number if kill else signal.SIGKILL)
                code = process.wait(WALL_SECONDS) if kill else -signal.SIGALRM
        finally:
            process.kill()
            process.wait()
        seconds = time.monotonic() - started
        _, alive = psutil.wait_procs(workers, timeout=SURVIVE_SECONDS)
        out.seek(0)
        err.seek(0)
        return Done(code, out.read(), err.read(), seconds, killed, len(alive))


def _ended(number: int, ended: Callable[[], bool], seconds: float, cpu: float) -> bool:
    """Waits until a process has ended; False where it took more seconds, or more processor time."""
    deadline, look = time.monotonic() + seconds, 0.0
    while not ended():
        now = time.monotonic()
        if now >= deadline:
            return False
        if now >= look:
            if _cpu(number) > cpu:
                return False
            look = now + LOOK_SECONDS
        time.sleep(min(0.01, deadline - now))
    return True


def _cpu(number: int) -> float:
    """The processor time of a process and its children, in seconds."""
    used = 0.0
    for process in [number, *(child.pid for child in _descendants(number))]:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(process).cpu_times()
            used += times.user + times.system
    return used


def _descendants(number: int) -> list[psutil.Process]:
    try:
        return psutil.Process(number).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def server() -> Any:
    """The context whose processes are children of the server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([LOADED])
    return context


def require_loaded() -> None:
    """Checks, in a child, that the server has imported what the commands need: Python says nothing where it cannot."""
    if LOADED not in sys.modules:
        importlib.import_module(LOADED)  # tells why it cannot be imported
        raise RuntimeError(
            f"the server of the campaign has not imported {LOADED}: run it in the folder of the repository"
        )


def forked(
    arguments: Sequence[str],
    folder: Path,
    kill: Kill | None = None,
    cpu: float = WALL_SECONDS,
    changes: Sequence[Change] = (),
) -> Done:
    """Runs a command in a child of the server. The arguments are those of `fresh`, and values to change in modules."""
    context = server()
    with tempfile.TemporaryDirectory(prefix="gldbench-campaign-") as place:
        files = [Path(place) / name for name in ("out", "err")]
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(list(arguments), str(folder), *map(str, files), sender, changes))
        process.start()
        sender.close()
        _wait_for_the_start(receiver)
        started, number = time.monotonic(), process.pid
        assert number is not None
        over = _ended(number, lambda: process.exitcode is not None, kill.after if kill else WALL_SECONDS, cpu)
        killed, hanging = not over and kill is not None, not over and kill is None
        if killed and kill is not None:
            os.kill(number, kill.number)
            process.join(WALL_SECONDS)
        if process.exitcode is None:
            process.kill()
        process.join()
        code = -signal.SIGALRM if hanging else process.exitcode
        assert code is not None
        out, err = (path.read_text(encoding="utf-8", errors="replace") if path.exists() else "" for path in files)
        return Done(code, out, err, time.monotonic() - started, killed)


def _wait_for_the_start(receiver: multiprocessing.connection.Connection) -> None:
    """Waits until the child is about to call `main`, so that the first child does not count the imports."""
    try:
        if receiver.poll(WALL_SECONDS):
            receiver.recv()
    except EOFError:
        pass  # it died before; its exit code says so
    finally:
        receiver.close()


def _child(
    arguments: list[str],
    folder: str,
    out: str,
    err: str,
    ready: multiprocessing.connection.Connection,
    changes: Sequence[Change],
) -> None:
    """Runs `main` as a new process would: with its own output, folder, environment and default signals."""
    for descriptor, path in ((1, out), (2, err)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, descriptor)
        os.close(handle)
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    require_loaded()
    os.environ.update(environment())
    os.chdir(folder)
    sys.argv = ["gldbench", *arguments]
    for module, name, value in changes:
        setattr(importlib.import_module(module), name, value)
    from gldbench.cli import main

    ready.send(True)
    ready.close()
    main()


def complaint(done: Done, codes: Sequence[int] = CODES) -> str:
    """What is wrong with the manner in which a command ended; "" where nothing is."""
    if done.code == -signal.SIGALRM:
        return f"it hung for {done.seconds:.0f} s"
    if "Traceback (most recent call last)" in done.err or "Traceback (most recent call last)" in done.out:
        return "traceback: " + " | ".join(done.err.splitlines()[-2:])[:400]
    if done.code not in codes:
        return f"exit code {done.code}: {' | '.join(done.err.splitlines()[-2:])[:300]}"
    usage = "Usage:" in done.err  # typer's own message about arguments
    if done.code == 2 and not usage and not 1 <= len(done.message) <= LONGEST_MESSAGE:
        return f"exit code 2 with {len(done.message)} lines of message: {' | '.join(done.err.splitlines()[-5:])[:300]}"
    return ""
