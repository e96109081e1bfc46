"""Finds the program in what a model wrote.

The program may be in a code fence, between [BEGIN] and [DONE], or between sentences. It may also continue a prompt that
ends inside a function.
"""

from __future__ import annotations

import ast
import itertools
import re
import warnings

MAX_OUTPUT = 100_000
"""only so many characters of an output are read"""
_MAX_CUTS = 300
"""places at which a text may begin, and lines at which it may be cut"""
_FENCE = re.compile(r"^[ \t]*(```|~~~)[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)
_START = re.compile(r"^(?:@|import |from |def |async def |class |[A-Za-z_]\w*\s*(?::[^=\n]+)?=)", re.MULTILINE)


def find_program(output: str, entry: str, prompt: str = "") -> str | None:
    """The program in the output that defines the function `entry`. None where there is none.

    Where several code fences define the function, the last one counts, because models correct themselves. A program
    that only continues the prompt is joined to it. A program that stands alone is preceded by what the prompt defines
    before the function (imports, helpers).

    Args:
        output: what a model wrote.
        entry: name of the function.
        prompt: the beginning of the program that the model was given, if any.
    """
    output = output[:MAX_OUTPUT].replace("\r\n", "\n").replace("\0", "")
    # [BEGIN] and [DONE] are MBPP's own marks; after [DONE] a model may go on with examples of its own
    output = output.partition("[DONE]")[0].rpartition("[BEGIN]")[2]
    blocks = [match[2] for match in _FENCE.finditer(output)]
    texts = [*reversed(blocks), output]
    whole = (_alone(text, entry, prompt) for text in (texts[:-1] or texts))
    continued = (_continued(text, entry, prompt) for text in texts)
    return next((program for program in itertools.chain(whole, continued) if program is not None), None)


def _alone(text: str, entry: str, prompt: str) -> str | None:
    """The longest run of whole statements in the text that defines `entry`."""
    starts = [0, *(match.start() for match in _START.finditer(text))][:_MAX_CUTS]
    if not re.search(rf"\b{re.escape(entry)}\b", text):
        return None
    for start in starts:
        program = _longest(text[start:], entry)
        if program is not None:
            return program if "from __future__" in program else _preamble(prompt, entry) + program
    return None


def _continued(text: str, entry: str, prompt: str) -> str | None:
    """The prompt, and the part of the text that continues its function."""
    if not defines(prompt + "\n    pass\n", entry):
        return None
    body = text if re.match(r"[ \t]*\n*[ \t]", text) else "    " + text
    program = _longest(prompt.rstrip("\n") + "\n" + body.lstrip("\n"), entry)
    # a prompt with a docstring is a whole function already, but no answer
    return program if program is not None and len(program.strip()) > len(prompt.strip()) else None


def _preamble(prompt: str, entry: str) -> str:
    found = re.search(rf"^def {re.escape(entry)}\b", prompt, re.MULTILINE)
    return prompt[: found.start()].lstrip() if found else ""


def _longest(text: str, entry: str) -> str | None:
    """The text before its first line that is not Python, if this defines `entry`."""
    lines = text.split("\n")
    for _ in range(_MAX_CUTS):
        if not lines:
            return None
        error = _syntax_error("\n".join(lines))
        if error is None:
            program = "\n".join(lines) + "\n"
            return program if defines(program, entry) else None
        # Python may notice an error after the line that causes it: at least one line is removed
        lines = lines[: max(0, min(error - 1, len(lines) - 1))]
        while lines and not lines[-1].strip():
            lines.pop()
    return None


def _parse(text: str) -> ast.Module | int:
    """The syntax tree, or the line of the first error (1 where Python does not name it)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in strings do not matter here
            return ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return 1


def _syntax_error(text: str) -> int | None:
    parsed = _parse(text)
    return parsed if isinstance(parsed, int) else None


def defines(text: str, entry: str) -> bool:
    """Whether the text is Python that defines, assigns or imports the name `entry`."""
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
