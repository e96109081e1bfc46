"""Runs programs, each in a fresh process.

`run_programs` gives back what programs wrote, which only trusted programs make worth reading. `check_programs` runs
foreign programs: what one of them wrote is read and judged in a second process with limits, the checker, and this
process gets one short message about it.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gldbench.sandbox import inside, launch, plain
from gldbench.sandbox.plain import Outcome, Outcomes
from gldbench.sandbox.process import Limits, communicate

Call = tuple[Any, ...] | str
"""positional arguments (plain values) for the entry function, or an expression that the program's process evaluates"""
LONGEST_MESSAGE = 4096
"""bytes of the message of a checker"""


@dataclass(frozen=True)
class Program:
    """A Python module, and the calls to make in it, in order."""

    source: str
    entry: str
    """name of the function to call"""
    calls: tuple[Call, ...]
    setup: str = ""
    """source that runs after the program, in the same module"""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Result:
    """What a program's process wrote."""

    output: bytes
    """a line for each call"""
    calls: int
    ending: Outcome
    """the outcome of the calls for which there is no line"""

    @property
    def outcomes(self) -> Outcomes:
        """One per call, in order. Only for trusted programs: decoding takes as much time and memory as they want."""
        return plain.outcomes(self.output, self.calls, self.ending)

    def lines(self) -> Iterator[bytes]:
        """The lines about calls, without their ends. There may be fewer than calls."""
        for line in itertools.islice(io.BytesIO(self.output), self.calls):
            if line.endswith(b"\n"):
                yield line[:-1]

    @property
    def answered(self) -> list[bool]:
        """Whether each call returned a value. Decodes no value."""
        found = [line.startswith(b'["ok"') for line in self.lines()]
        return found + [False] * (self.calls - len(found))

    def failed(self) -> Outcome | None:
        """The first call that ran out of time, or else the first that failed. None where all returned a value.

        Decodes nothing but the short text about an error.
        """
        if all(self.answered):
            return None
        line = next((line for line in self.lines() if not line.startswith(b'["ok"')), None)
        if line is None or self.ending.status == "timeout":
            return self.ending
        return plain.failure(line)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all calls, as the process itself reports it: believe it of trusted programs only."""
        last = self.output[self.output.rfind(b"\n", 0, -1) + 1 :]
        return float(json.loads(last)[1]) if last.startswith(b'["end"') else 0.0


@dataclass(frozen=True)
class Check:
    """Tells whether what a program returned is right, in a process in which no object of the program exists."""

    source: str
    """a module with the function `check_outcomes(*arguments, *expected, outcomes)`, where `outcomes` and `expected` are
    `plain.Outcomes`. It returns a list of truth values and short texts"""
    arguments: tuple[Any, ...] = ()
    expected: tuple[Result, ...] = ()
    """what trusted programs returned"""
    limits: Limits = field(default_factory=Limits)
    own_python: bool = False
    """run it with the Python and the packages of our own environment, where it may start processes and write below
    /tmp; else with the system's Python, as programs run"""


@dataclass(frozen=True)
class Checked:
    """What a check says about one program."""

    value: list[Any] = field(default_factory=list)
    """what the check returned. Texts in it may have been chosen by the program"""
    reason: str = ""
    """why there is no value; "" where there is one"""
    timeout: bool = False
    """whether the program ran out of time before it answered one call"""


def run_programs(programs: Sequence[Program], workers: int | None = None) -> list[Result]:
    """Runs each program in a process of its own, and keeps what it wrote in memory.

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


def check_programs(programs: Sequence[Program], checks: Sequence[Check], workers: int | None = None) -> list[Checked]:
    """Runs each foreign program, and then its check in another process. Both run as in `run_programs`.

    This process decodes nothing that a program wrote except for the message of its check, which is short and flat.
    Nothing that a program does costs another program its result.

    Args:
        programs: the programs to run.
        checks: the check of each program.
        workers: how many programs run at the same time. Default: one per core.

    Raises:
        InputError: there is no sandbox, and running without one was not allowed.
        OSError: the machine cannot start processes or write temporary files.
    """
    sandboxed = launch.require()

    def checked(program: Program, check: Check) -> Checked:
        try:
            return _checked(program, check, sandboxed)
        except OSError:  # the trouble of the machine, and not of the item
            raise
        except Exception as error:  # one item must not cost the others their results: its row says what happened
            return Checked(reason=f"grading failed: {type(error).__name__}: {error}"[:200])

    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(checked, programs, checks))


def _run(program: Program, sandboxed: bool) -> Result:
    with tempfile.TemporaryFile() as output:
        ending = _execute(program, sandboxed, output)
        output.seek(0)
        return Result(output.read(), len(program.calls), ending)


def _checked(program: Program, check: Check, sandboxed: bool) -> Checked:
    with tempfile.TemporaryFile() as output:
        ending = _execute(program, sandboxed, output)
        size = output.tell()
        if size == 0:
            return Checked(reason=ending.reason, timeout=ending.status == "timeout")
        output.seek(0)
        checker = Program(check.source, "check_outcomes", (check.arguments,), limits=check.limits)
        given = [[len(one.output), one.calls, one.ending] for one in check.expected]
        given.append([size, len(program.calls), ending])

        def copy(stdin: IO[bytes]) -> None:
            for one in check.expected:
                stdin.write(one.output)
            shutil.copyfileobj(output, stdin)

        with tempfile.TemporaryFile() as message:
            ended = _execute(checker, sandboxed, message, given, copy, check.own_python)
            message.seek(0)
            return _message(message.read(LONGEST_MESSAGE), ended)


def _message(message: bytes, ended: Outcome) -> Checked:
    """What the message of a checker says. A checker that was killed sends none."""
    line, end, _ = message.partition(b"\n")
    if not end:
        return Checked(reason=f"checking what the program returned failed: {ended.reason}")
    status, value = json.loads(line)
    if status != "ok":
        return Checked(reason=f"checking what the program returned failed: {value}"[:200])
    return Checked(value)


@functools.cache
def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _execute(
    program: Program,
    sandboxed: bool,
    output: IO[bytes],
    given: Sequence[Any] = (),
    copy: Callable[[IO[bytes]], None] = lambda stdin: None,
    own_python: bool = False,
) -> Outcome:
    """Runs a program, which writes its lines to `output`. Returns the outcome of the calls without a line."""
    limits = program.limits.resources(sandboxed)
    if own_python and not sandboxed:
        del limits["RLIMIT_NPROC"]  # the kernel would count all processes of this user
    job = {
        "source": program.source,
        "setup": program.setup,
        "entry": program.entry,
        "calls": [call if isinstance(call, str) else plain.encode(list(call)) for call in program.calls],
        "value_bytes": program.limits.value_bytes,
        "limits": limits,
        "plain": _text(plain.__file__),
        "given": list(given),
    }
    with (
        tempfile.TemporaryDirectory(prefix="gldbench-code-") as folder,
        tempfile.TemporaryFile() as stdin,
        launch.worker(_text(inside.__file__), sandboxed, own_python) as (command, descriptors),
    ):
        stdin.write(json.dumps(job).encode() + b"\n")
        copy(stdin)
        stdin.seek(0)
        return communicate(command, descriptors, stdin.fileno(), output, folder, program.limits)
