"""Answers that attack the machine that grades them, in the form that each benchmark's grader reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gldbench.schema import Item

MARKER = "gldbench-hostile-process"
"""argument of the processes that the answers try to leave behind"""


def attack(file: Path, port: int, parent: int) -> str:
    """A Python expression that writes a file, connects to the host, kills a process of the host and leaves another."""
    tries = [
        f"open({str(file)!r}, 'w').write('x')",
        f"__import__('os').system('touch {file}')",
        f"__import__('socket').create_connection(('127.0.0.1', {port}), 1)",
        f"__import__('os').kill({parent}, 9)",
        f"__import__('subprocess').Popen(['sleep', '600', {MARKER!r}], start_new_session=True)",
        f"__import__('os').fork() or __import__('os').execvp('sleep', ['{MARKER}', '600'])",
    ]
    calls = ", ".join(f"(lambda: {text})" for text in tries)
    guard = "(lambda f: [__import__('contextlib').suppress(BaseException).__enter__(), f()][1])"
    return f"[{guard}(f) for f in [{calls}]]"


def hostile_outputs(item: Item, file: Path, port: int) -> Iterator[str]:
    """Outputs to one item: the attack as an answer, in a box, as a program, and as LaTeX."""
    single = f"__import__('os').system('touch {file}')"
    code = attack(file, port, os.getpid())
    each = [
        f"open({str(file)!r}, 'w').write('x')",
        single,
        f"__import__('socket').create_connection(('127.0.0.1', {port}), 1)",
        f"__import__('os').kill({os.getpid()}, 9)",
        "__import__('os').kill(__import__('os').getppid(), 9)",
        "__import__('os')._exit(0)",
        code,
    ]
    for text in each:
        yield f"The answer is {text}"
        yield f"The answer is ({text})"
        yield f"Answer: {text}"
        yield f"So \\boxed{{{text}}}"
        if item.entry:
            yield f"```python\nimport os\n{text}\ndef {item.entry}(*a):\n    return {text}\n```"
    yield "\\boxed{" * 5_000
    yield "9^{9^{9^{9}}}"
    yield "\x00\ud7ff" * 1_000
    yield "The answer is " + "(" * 100_000
