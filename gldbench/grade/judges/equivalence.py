"""Asks math-verify whether two mathematical texts mean the same. It runs in separate processes.

A few characters of LaTeX can take hours or all memory. A thread cannot be stopped, and math-verify's own time limit is
a signal, which works in the main thread only. A process can be killed, so that a bad text costs only its own answer.
One output asks one question, and a question has one budget of CPU time. Most texts that would use it up are recognised
by their length and the depth of their brackets before that, because these are the same on every machine.

math-verify: Kydlíček et al., Math-Verify (2025), https://github.com/huggingface/Math-Verify
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gldbench.grade.answers import TOO_LONG
from gldfusion.errors import InputError

SECONDS = 5.0
"""seconds of CPU time for one question"""
WALL_FACTOR = 12.0
"""seconds of wall time for each second of CPU time, after which a process that does not even compute is killed"""
START_SECONDS = 120.0
"""seconds in which a process must have imported sympy, on a busy machine"""
MAX_CHARACTERS = 1_000
"""a longer text does not answer a benchmark's question, and is not parsed"""
MAX_DEPTH = 12
"""depth of brackets and braces up to which a text is parsed; the grammar's time grows exponentially with it"""
_NESTED = f"{TOO_LONG}: more than {MAX_DEPTH} brackets in each other"
_PER_WORKER = 50
"""a second process starts where there are twice as many questions"""

_SCRIPT = Path(__file__).with_name("equivalence_worker.py")


@dataclass(frozen=True)
class Reply:
    """The answer to a question."""

    value: Any = None
    reason: str = ""
    """why there is no value, or not for every text: the budget or the name of an error"""

    @property
    def too_long(self) -> str:
        """The reason, where a text was not read because that would take too long; else ""."""
        return self.reason if self.reason.startswith(TOO_LONG) else ""


def equivalent(questions: Sequence[Sequence[tuple[str, str]]], seconds: float = SECONDS) -> list[Reply]:
    """For each question, which is a list of pairs (gold, answer): whether any of its pairs is equivalent."""
    kept = [[pair for pair in pairs if all(map(parsable, pair))] for pairs in questions]
    replies = _ask([json.dumps(["equal", pairs]) if pairs else "" for pairs in kept], seconds)
    return [
        Reply(reply.value, _NESTED) if len(own) < len(pairs) and not reply.value else reply
        for reply, own, pairs in zip(replies, kept, questions, strict=True)
    ]


def values(questions: Sequence[Sequence[str]], seconds: float = SECONDS) -> list[Reply]:
    """For each question, which is a list of LaTeX texts: the numbers that each text states.

    A text may be a number, a tuple or a matrix. Its numbers are None where it states none.
    """
    kept = [[text if parsable(text) else "" for text in texts] for texts in questions]
    replies = _ask([json.dumps(["values", texts]) if any(texts) else "" for texts in kept], seconds)
    return [
        Reply(reply.value, _NESTED) if own != list(texts) else reply
        for reply, own, texts in zip(replies, kept, questions, strict=True)
    ]


def parsable(text: str) -> bool:
    """Whether a text is short and flat enough for math-verify's grammar."""
    depth = deepest = 0
    for sign in text:
        depth = max(0, depth + (sign in "([{") - (sign in ")]}"))
        deepest = max(deepest, depth)
    return len(text) <= MAX_CHARACTERS and deepest <= MAX_DEPTH


def _ask(requests: Sequence[str], seconds: float) -> list[Reply]:
    """The replies in the order of the requests. Equal requests are asked once, and empty ones are not asked."""
    distinct = list(dict.fromkeys(filter(None, requests)))
    if not distinct:
        return [Reply()] * len(requests)
    workers = max(1, min(2, os.cpu_count() or 1, len(distinct) // _PER_WORKER))
    with ThreadPoolExecutor(workers) as pool:
        shares = pool.map(lambda number: _share(distinct[number::workers], seconds), range(workers))
        known = {
            request: reply
            for number, replies in enumerate(shares)
            for request, reply in zip(distinct[number::workers], replies, strict=True)
        }
    return [known.get(request, Reply()) for request in requests]


def _share(requests: Sequence[str], seconds: float) -> list[Reply]:
    """The replies of one process. Where it is killed, a new one answers the remaining requests."""
    replies: list[Reply] = []
    while len(replies) < len(requests):
        with _process(seconds) as process:
            for request in requests[len(replies) :]:
                reply, alive = _exchange(process, request, seconds)
                replies.append(reply)
                if not alive:
                    break
    return replies


@contextmanager
def _process(seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-W", "ignore", str(_SCRIPT), str(seconds)],
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
    line = _line(process, seconds * WALL_FACTOR)
    if line is None:
        return Reply(reason=f"{TOO_LONG}: math-verify does not answer"), False
    if not line.endswith(b"\n"):
        ended = process.wait()
        spent = f"{TOO_LONG}: math-verify is not done after {seconds:g} s of CPU time"
        return Reply(reason=spent if ended == -signal.SIGPROF else "the computer algebra ended"), False
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
