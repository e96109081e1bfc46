"""Whether two mathematical texts mean the same, by math-verify in processes of their own.

A few characters of LaTeX can cost hours or all memory, and neither a signal (math-verify's own time limit, which works
in the main thread only) nor a thread ends that. A process is killed, and one text costs one text.
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

CITATION = "Kydlíček et al., Math-Verify (2025), https://github.com/huggingface/Math-Verify"
SECONDS = 5.0
"""of wall time for one question"""
START_SECONDS = 120.0
"""for a process to import sympy, on a busy machine"""
MAX_CHARACTERS = 1_000
"""a longer text is no answer to a benchmark's question, and is not parsed"""
_PER_WORKER = 50

_SCRIPT = Path(__file__).with_name("equivalence_worker.py")


@dataclass(frozen=True)
class Reply:
    """What became of a question."""

    value: Any = None
    reason: str = ""
    """why there is no value: the time limit, or the name of an error"""


def equivalent(questions: Sequence[Sequence[tuple[str, str]]], seconds: float = SECONDS) -> list[Reply]:
    """For each question, a list of (gold, answer) pairs: whether any of its pairs is equivalent."""
    return _ask([json.dumps(["equal", list(pairs)]) for pairs in questions], seconds)


def values(texts: Sequence[str], seconds: float = SECONDS) -> list[Reply]:
    """For each LaTeX text the numbers that it states: one, those of a tuple or a matrix, or None."""
    return _ask([json.dumps(["value", text]) for text in texts], seconds)


def _ask(requests: Sequence[str], seconds: float) -> list[Reply]:
    """The replies in order; equal requests are asked once."""
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
    """One process after the other: a new one where the last was killed."""
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
                f"math-verify does not start: {said.splitlines()[-1] if said else 'no answer'}\n"
                "install it: pip install 'lm-eval[math]'"
            )
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


def _exchange(process: subprocess.Popen[bytes], request: str, seconds: float) -> tuple[Reply, bool]:
    """The reply, and whether the process can be asked again."""
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
    """The next line of output; what there is of it where the process ended, None where the time did."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(seconds):
            return None
    return process.stdout.readline()
