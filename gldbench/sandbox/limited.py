"""Runs a function that a small model wrote, the candidate, in a separate process with limits.

The limits are on time, memory, processes, file size and output, so that code does no damage by accident. This is **not
a sandbox**: hostile code can read and delete what the user may read and delete, reach the network, and send signals to
the user's processes. The limit on processes does not apply to root. Expected values never enter the process: it writes
plain JSON outputs, and the caller compares them.
"""

from __future__ import annotations

import ast
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

MAX_SOURCE = 4_000
"""characters; a longer candidate is refused"""
MAX_OUTPUT = 64 * 1024
"""bytes; a process that writes more results is stopped"""

# The process sets its limits itself before it reads the candidate: setting them between fork and exec (preexec_fn) is
# slow in a large parent process and unsafe in one with threads. What a candidate prints is discarded; results have a
# descriptor of their own. BaseException is caught, because foreign code may raise anything.
_WORKER = """
import json, os, resource, sys
job = json.load(sys.stdin)
results = os.dup(1)
sink = os.open(os.devnull, os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(sink, descriptor)
for name, value in job["limits"].items():
    resource.setrlimit(getattr(resource, name), (value, value))
def report(status, value):
    os.write(results, json.dumps([status, value], allow_nan=False).encode() + b"\\n")
def attempt(value):
    try:
        report("ok", function(value))
    except BaseException as error:
        report("error", "the candidate raised " + type(error).__name__)
try:
    names = {}
    try:
        expression = compile(job["source"], "candidate", "eval")
    except SyntaxError:
        exec(job["source"], names)
        function = names[job["entry"]]
    else:
        function = eval(expression, names)
except BaseException as error:
    failure = "defining the candidate raised " + type(error).__name__
    for _ in job["inputs"]:
        report("error", failure)
else:
    for value in job["inputs"]:
        attempt(value)
os._exit(0)
"""


@dataclass(frozen=True)
class Candidate:
    """A function, and the inputs with which it is called."""

    source: str
    """one expression (a lambda) or one `def`"""
    entry: str
    """the name in the `def`; not used for an expression"""
    inputs: tuple[Any, ...]
    """JSON values; each is the only argument of one call"""


@dataclass(frozen=True)
class Outcome:
    """The result of one call."""

    status: Literal["ok", "error", "timeout"]
    value: Any = None
    """the returned value as JSON: tuples become lists, and keys of dictionaries become strings"""
    reason: str = ""


def run_candidate(
    source: str, entry: str, inputs: Sequence[Any], timeout: float = 2.0, memory_mb: int = 256
) -> list[Outcome]:
    """Calls a candidate with each input.

    Args:
        source: one expression, or one `def` with the name `entry`. For anything else, no process is started and every
            outcome is an error.
        entry: name of the function.
        inputs: JSON values, each the argument of one call.
        timeout: seconds of wall time for all calls together. Calls that end in time keep their values.
        memory_mb: limit of the address space, in MiB.

    Returns:
        One outcome per input, in order.
    """
    candidate = Candidate(source, entry, tuple(inputs))
    reason = _refusal(candidate)
    return _refuse(candidate, reason) if reason else _run(candidate, timeout, memory_mb)


def run_many(
    candidates: Sequence[Candidate], workers: int = 2, timeout: float = 2.0, memory_mb: int = 256
) -> list[list[Outcome]]:
    """The same as `run_candidate` for each candidate. Each has its own process; `workers` of them run at a time."""
    # parsing changes the global filters for warnings for a moment, and therefore stays in this thread
    reasons = [_refusal(candidate) for candidate in candidates]
    with ThreadPoolExecutor(workers) as pool:
        running = [
            None if reason else pool.submit(_run, candidate, timeout, memory_mb)
            for candidate, reason in zip(candidates, reasons, strict=True)
        ]
        return [
            future.result() if future else _refuse(candidate, reason)
            for candidate, reason, future in zip(candidates, reasons, running, strict=True)
        ]


def _refuse(candidate: Candidate, reason: str) -> list[Outcome]:
    return [Outcome("error", reason=reason) for _ in candidate.inputs]


def _refusal(candidate: Candidate) -> str:
    """Why no process is started for the candidate. "" where one is started."""
    if len(candidate.source) > MAX_SOURCE:
        return f"the candidate is longer than {MAX_SOURCE} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(candidate.source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "the candidate does not parse"
    if len(body) != 1 or not isinstance(body[0], ast.Expr | ast.FunctionDef):
        return "the candidate is not one expression or one def"
    if isinstance(body[0], ast.FunctionDef) and body[0].name != candidate.entry:
        return f'the candidate defines "{body[0].name}", not "{candidate.entry}"'
    return ""


def _run(candidate: Candidate, timeout: float, memory_mb: int) -> list[Outcome]:
    limits = {
        "RLIMIT_CPU": int(timeout) + 1,
        "RLIMIT_AS": memory_mb * 2**20,
        "RLIMIT_NPROC": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NOFILE": 16,
        "RLIMIT_CORE": 0,
    }
    job = {
        "source": candidate.source,
        "entry": candidate.entry,
        "inputs": candidate.inputs,
        "limits": limits,
    }
    with tempfile.TemporaryDirectory(prefix="gldbench-candidate-") as folder, tempfile.TemporaryFile("w+") as stdin:
        json.dump(job, stdin)
        stdin.seek(0)
        output, ending = _communicate(stdin.fileno(), Path(folder), timeout)
    outcomes = [_read(line) for line in output.split(b"\n")[:-1]][: len(candidate.inputs)]
    return outcomes + [ending] * (len(candidate.inputs) - len(outcomes))


def _communicate(stdin: int, folder: Path, timeout: float) -> tuple[bytes, Outcome]:
    """Runs the process: what it wrote, and the outcome of the calls without a result. Leaves no process behind."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-E", "-B", "-W", "ignore", "-c", _WORKER],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={},
        start_new_session=True,
    )
    assert process.stdout is not None
    output, ending = b"", None
    deadline = time.monotonic() + timeout
    try:
        with process.stdout, selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while ending is None:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    ending = Outcome("timeout", reason=f"the candidate ran for more than {timeout:g} s")
                elif not (chunk := os.read(process.stdout.fileno(), 65536)):
                    ending = Outcome("error", reason="the candidate's process ended before it answered")
                elif len(output := output + chunk) > MAX_OUTPUT:
                    output = output[:MAX_OUTPUT]
                    ending = Outcome("error", reason=f"the candidate returned more than {MAX_OUTPUT} bytes")
    finally:
        # killed before it is waited for: until then the number of its group cannot belong to other processes
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return output, ending


def _read(line: bytes) -> Outcome:
    try:
        status, value = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        status, value = None, None
    if status == "ok":
        return Outcome("ok", value)
    return Outcome("error", reason=value if status == "error" and isinstance(value, str) else "the output is not JSON")
