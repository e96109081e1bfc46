"""Finds the program in what a model wrote.

The program may be in a code fence, between [BEGIN] and [DONE], or between sentences. It may also continue a prompt that
ends inside a function. `assemble.py` then adds what the program lacks and removes examples that would run with it.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from typing import Literal, NamedTuple

from gldbench.grade import answers
from gldbench.grade.programs.assemble import assemble, defines, parsed

MAX_OUTPUT = 100_000
"""only so many characters of an output are read"""
_MAX_CUTS = 300
"""places at which a text may begin, and lines at which it may be cut"""
_MAX_ENDS = 40
"""lines at which one code fence may end"""
# a fence may stand in a list or in a quotation, also on the line of its number or mark
_FENCE_LINE = re.compile(r"^((?:[ \t]|[-*+>][ \t]|\d{1,3}[.)][ \t])*)(```+|~~~+)([^\n`]*)$", re.MULTILINE)
_QUOTED = re.compile(r"^[ \t]*>[ \t]?", re.MULTILINE)
_START = re.compile(r"^(?:@|import |from |def |async def |class |[A-Za-z_]\w*\s*(?::[^=\n]+)?=)", re.MULTILINE)


class Extraction(NamedTuple):
    """A program, and where it stood in the output."""

    program: str | None
    """None where there is none"""
    how: Literal["fence", "bare", "none"]
    """in a code fence, outside of fences, or nowhere"""
    reason: str = ""
    """why the output could not be read; "" where it could"""


def find_program(output: str, entry: str, prompt: str = "") -> str | None:
    """The program in the output that defines the function `entry`. None where there is none."""
    return extract(output, entry, prompt).program


def extract(output: str, entry: str, prompt: str = "") -> Extraction:
    """The program in the output that defines the function `entry`, and where it stood.

    Where several code fences define the function, the last one counts, because models correct themselves. Names that it
    uses and does not define are taken from other fences. A program that only continues the prompt is joined to it. A
    program that stands alone is preceded by what the prompt defines before the function (imports, helpers).

    Args:
        output: what a model wrote. What it thought between tags does not count.
        entry: name of the function.
        prompt: the beginning of the program that the model was given, if any.
    """
    output = answers.visible(output[:MAX_OUTPUT].replace("\r\n", "\n").replace("\r", "\n").replace("\0", ""))
    # [BEGIN] and [DONE] are MBPP's own marks; after [DONE] a model may go on with examples of its own
    output = output.partition("[DONE]")[0].rpartition("[BEGIN]")[2]
    blocks = list(_fenced(output))
    for text, how, find in (
        *((block, "fence", _alone) for block in reversed(blocks)),
        (output, "bare", _alone),
        *((block, "fence", _continued) for block in reversed(blocks)),
        (output, "bare", _continued),
    ):
        program = find(text, entry, prompt)
        if program is not None:
            others = [_longest(block, "") or "" for block in reversed(blocks) if block != text]
            return Extraction(assemble(program, entry, others), "fence" if how == "fence" else "bare")
    return Extraction(None, "none")


def _fenced(output: str) -> Iterator[str]:
    """The contents of the code fences.

    A fence ends at the next line of the same marks, unless its content is Python only up to a later such line: then the
    line before stands in a docstring.
    """
    for opening, closing in _fences(output):
        yield _inner(opening, output[opening.end() + 1 : closing.start() if closing else len(output)])


def _inner(opening: re.Match[str], content: str) -> str:
    """The content of a fence without the indentation and the quotation marks that it shares with the fence."""
    prefix = opening[1]
    if not prefix:
        return content
    content = _QUOTED.sub("", content) if ">" in prefix else content
    dedented = textwrap.dedent(content)
    if isinstance(parsed(dedented), int):  # a text in it may have lines with less indentation
        shifted = re.sub(rf"^[ \t]{{1,{len(prefix)}}}", "", content, flags=re.MULTILINE)
        return dedented if isinstance(parsed(shifted), int) else shifted
    return dedented


def _fences(output: str) -> list[tuple[re.Match[str], re.Match[str] | None]]:
    """The opening and the closing line of every fence. The last one may lack a closing line."""
    lines = list(_FENCE_LINE.finditer(output))
    found: list[tuple[re.Match[str], re.Match[str] | None]] = []
    place = 0
    while place < len(lines):
        opening = lines[place]
        ends = [n for n in range(place + 1, len(lines)) if lines[n][2][0] == opening[2][0]]
        chosen = next(iter(ends), None)
        for end in ends[:_MAX_ENDS]:
            content = _inner(opening, output[opening.end() + 1 : lines[end].start()])
            if end != chosen and not (content.count('"""') or content.count("'''")):
                break
            if not isinstance(parsed(content), int):
                chosen = end
                break
        found.append((opening, None if chosen is None else lines[chosen]))
        place = len(lines) if chosen is None else chosen + 1
    return found


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
    """The text before its first line that is not Python, if this defines `entry` ("": whatever it defines)."""
    lines = text.split("\n")
    for _ in range(_MAX_CUTS):
        if not lines:
            return None
        tree = parsed("\n".join(lines))
        if isinstance(tree, ast.Module):
            program = "\n".join(lines) + "\n"
            return program if not entry or defines(program, entry) else None
        # Python may notice an error after the line that causes it: at least one line is removed
        lines = lines[: max(0, min(tree - 1, len(lines) - 1))]
        while lines and not lines[-1].strip():
            lines.pop()
    return None
