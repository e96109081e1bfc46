"""Asks math-verify whether two mathematical texts mean the same. It runs in separate processes.

A few characters of LaTeX can take hours or all memory. A thread cannot be stopped, and math-verify's own time limit is
a signal, which works in the main thread only. A process can be killed, so that a bad text costs only its own answer.

math-verify: Kydlíček et al., Math-Verify (2025), https://github.com/huggingface/Math-Verify
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gldfusion.errors import InputError

SECONDS = 5.0
"""seconds of wall time for one question"""
START_SECONDS = 120.0
"""seconds in which a process must have imported sympy, on a busy machine"""
MAX_CHARACTERS = 1_000
"""a longer text does not answer a benchmark's question, and is not parsed"""
_PER_WORKER = 50
"""a second process starts where there are twice as many questions"""

_SCRIPT = Path(__file__).with_name("equivalence_worker.py")


@dataclass(frozen=True)
class Reply:
    """The answer to a question."""

    value: Any = None
    reason: str = ""
    """why there is no value: the time limit or the name of an error"""


def equivalent(questions: Sequence[Sequence[tuple[str, str]]], seconds: float = SECONDS) -> list[Reply]:
    """For each question, which is a list of pairs (gold, answer): whether any of its pairs is equivalent."""
    return _ask([json.dumps(["equal", list(pairs)]) for pairs in questions], seconds)


def values(texts: Sequence[str], seconds: float = SECONDS) -> list[Reply]:
    """For each LaTeX text: the list of numbers in it (a number, a tuple, a matrix). None where it states no numbers."""
    return _ask([json.dumps(["value", text]) for text in texts], seconds)


def _ask(requests: Sequence[str], seconds: float) -> list[Reply]:
    """The replies in the order of the requests. Equal requests are asked once."""
    distinct = list(dict.fromkeys(requests))
    if not distinct:
        return []
    workers = max(1, min(2, os.cpu_count() or 1, len(distinct) // _PER_WORKER))
    with ThreadPoolExecutor(workers) as pool:
        shares = pool.map(lambda number: _share(distinct[number::workers], seconds), range(workers))
        known = {
            request: reply
            for number, replies in enumerate(shares)
            for request, reply in zip(distinct[number::workers], replies, strict=True)
        }
    return [known[request] for request in requests]


def _share(requests: Sequence[str], seconds: float) -> list[Reply]:
    """The replies of one process. Where it is killed, a new one answers the remaining requests."""
    replies: list[Reply] = []
    while len(replies) < len(requests):
        with _process() as process:
            for request in requests[len(replies) :]:
                reply, alive = _exchange(process, request, seconds)
                replies.append(reply)
                if not alive:
                    break
    return replies


@contextmanager
def _process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-W", "ignore", str(_SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
        start_new_session=True,
    )
    try:
        if _line(process, START_SECONDS) != b"ready\n":
            process.kill()
            said = (process.stderr.read() if process.stderr else b"").decode(errors="replace").strip()
            raise InputError(
                f"math-verify does not start: {said.splitlines()[-1] if said else 'the process says nothing'}\n"
                "install it with: pip install 'lm-eval[math]'"
            )
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


def _exchange(process: subprocess.Popen[bytes], request: str, seconds: float) -> tuple[Reply, bool]:
    """The reply, and whether the process can answer further requests."""
    assert process.stdin is not None
    try:
        process.stdin.write(request.encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return Reply(reason="the computer algebra ended"), False
    line = _line(process, seconds)
    if line is None:
        return Reply(reason=f"not decided within {seconds:g} s"), False
    if not line.endswith(b"\n"):
        return Reply(reason="the computer algebra ended"), False
    value = json.loads(line)
    return (Reply(reason=value["error"]) if isinstance(value, dict) else Reply(value)), True


def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
    """The next line of output. Only its beginning where the process ended, and None where the time ran out."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(seconds):
            return None
    return process.stdout.readline()
