"""Finds the programs in many outputs, in a process with a budget for each output.

Python's parser takes minutes for some short texts, and cannot be interrupted. A process can be killed, so that such an
output costs only its own item. `reading_worker.py` is the program of that process.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from gldbench.grade.programs.extract import MAX_OUTPUT, Extraction

SECONDS = 5
"""seconds of processor time for one output"""
TOO_LONG = "too long to parse"
"""reason in the row of an output that exceeds its budget"""
_WALL_SECONDS = 120.0
"""seconds of wall time for one output, on a busy machine"""
_PER_WORKER = 100
"""a second process starts where there are twice as many outputs"""
_SCRIPT = Path(__file__).with_name("reading_worker.py")

Request = tuple[str, str, str]
"""(output, name of the function, prompt), as in `extract.extract`"""


def read_programs(requests: Sequence[Request]) -> list[Extraction]:
    """The program in each output. One that exceeds its budget has none, and the reason says so."""
    distinct = list(dict.fromkeys((output[:MAX_OUTPUT], entry, prompt) for output, entry, prompt in requests))
    if not distinct:
        return []
    workers = max(1, min(len(os.sched_getaffinity(0)), len(distinct) // _PER_WORKER))
    with ThreadPoolExecutor(workers) as pool:
        shares = pool.map(lambda number: _share(distinct[number::workers]), range(workers))
        known = {
            request: found
            for number, share in enumerate(shares)
            for request, found in zip(distinct[number::workers], share, strict=True)
        }
    return [known[output[:MAX_OUTPUT], entry, prompt] for output, entry, prompt in requests]


def _share(requests: Sequence[Request]) -> list[Extraction]:
    """The extractions of one process. Where it is killed, a new one answers the remaining requests."""
    found: list[Extraction] = []
    while len(found) < len(requests):
        with _process() as process:
            for request in requests[len(found) :]:
                reply = _exchange(process, json.dumps(request).encode() + b"\n")
                found.append(Extraction(*json.loads(reply)) if reply else Extraction(None, "none", TOO_LONG))
                if not reply:
                    break
    return found


@contextmanager
def _process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-W", "ignore", str(_SCRIPT), str(SECONDS), TOO_LONG],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


def _exchange(process: subprocess.Popen[bytes], request: bytes) -> bytes:
    """The reply to a request. Empty where the process was killed before it had one."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(request)
        process.stdin.flush()
    except BrokenPipeError:
        return b""
    reply, deadline = bytearray(), time.monotonic() + _WALL_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not reply.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return b""
            chunk = os.read(process.stdout.fileno(), 2**16)
            if not chunk:
                return b""
            reply += chunk
    return bytes(reply)
