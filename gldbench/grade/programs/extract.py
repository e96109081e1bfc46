"""Finds the program in what a model wrote: in a code fence, between [BEGIN] and [DONE], in the midst of prose, or as
the continuation of a prompt that ends inside a function."""

from __future__ import annotations

import ast
import itertools
import re
import warnings

MAX_OUTPUT = 100_000
"""characters of an output that are looked at"""
_MAX_CUTS = 300
_FENCE = re.compile(r"^[ \t]*(```|~~~)[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)
_START = re.compile(r"^(?:@|import |from |def |async def |class |[A-Za-z_]\w*\s*(?::[^=\n]+)?=)", re.MULTILINE)


def find_program(output: str, entry: str, prompt: str = "") -> str | None:
    """The program that defines `entry`, or None.

    Of several code fences that define it, the last: models correct themselves. A program that only continues `prompt`
    is joined to it; to one that stands alone, what the prompt defines before `entry` (imports, helpers) is added.
    """
    output = output[:MAX_OUTPUT].replace("\r\n", "\n").replace("\0", "")
    # MBPP's own marks; what follows the end is the model going on with examples of its own
    output = output.partition("[DONE]")[0].rpartition("[BEGIN]")[2]
    blocks = [match[2] for match in _FENCE.finditer(output)]
    texts = [*reversed(blocks), output]
    whole = (_alone(text, entry, prompt) for text in (texts[:-1] or texts))
    continued = (_continued(text, entry, prompt) for text in texts)
    return next((program for program in itertools.chain(whole, continued) if program is not None), None)


def _alone(text: str, entry: str, prompt: str) -> str | None:
    """The longest run of whole statements in `text` that defines `entry`."""
    starts = [0, *(match.start() for match in _START.finditer(text))][:_MAX_CUTS]
    if not re.search(rf"\b{re.escape(entry)}\b", text):
        return None
    for start in starts:
        program = _longest(text[start:], entry)
        if program is not None:
            return program if "from __future__" in program else _preamble(prompt, entry) + program
    return None


def _continued(text: str, entry: str, prompt: str) -> str | None:
    """`prompt` and the part of `text` that goes on with its function."""
    if not defines(prompt + "\n    pass\n", entry):
        return None
    body = text if re.match(r"[ \t]*\n*[ \t]", text) else "    " + text
    program = _longest(prompt.rstrip("\n") + "\n" + body.lstrip("\n"), entry)
    # the docstring alone would be a function too, but no answer
    return program if program is not None and len(program.strip()) > len(prompt.strip()) else None


def _preamble(prompt: str, entry: str) -> str:
    found = re.search(rf"^def {re.escape(entry)}\b", prompt, re.MULTILINE)
    return prompt[: found.start()].lstrip() if found else ""


def _longest(text: str, entry: str) -> str | None:
    """`text` cut before its first line that is not Python, if what is left defines `entry`."""
    lines = text.split("\n")
    for _ in range(_MAX_CUTS):
        if not lines:
            return None
        error = _syntax_error("\n".join(lines))
        if error is None:
            program = "\n".join(lines) + "\n"
            return program if defines(program, entry) else None
        # an error may be noticed behind the line that causes it: at least one line goes
        lines = lines[: max(0, min(error - 1, len(lines) - 1))]
        while lines and not lines[-1].strip():
            lines.pop()
    return None


def _parse(text: str) -> ast.Module | int:
    """The tree, or the line of the first error (1 where Python does not say)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a string is not our business
            return ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return 1


def _syntax_error(text: str) -> int | None:
    parsed = _parse(text)
    return parsed if isinstance(parsed, int) else None


def defines(text: str, entry: str) -> bool:
    """Whether `text` is Python that binds `entry` at its top level."""
    tree = _parse(text)
    if isinstance(tree, int):
        return False
    for node in ast.walk(tree):  # also under `if` and `try`
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == entry:
            return True
        if isinstance(node, ast.Name) and node.id == entry and isinstance(node.ctx, ast.Store):
            return True
        if isinstance(node, ast.alias) and (node.asname or node.name) == entry:
            return True
    return False
