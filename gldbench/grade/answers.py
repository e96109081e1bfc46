"""Finding the answer in an output: one finder for all judges. Comparing the answer with the gold is the judges' part.

An output is read in this order:

1. Thinking (`THINKING`) and everything after an end-of-text token are no part of the answer.
2. What runs on after the answer, such as a new question, is cut off.
3. The last mark that says something decides, whatever its kind: a box, a cue such as "the answer is" or "Answer:", a
   tag, a JSON field. A refusal says that there is no answer, even where an earlier mark names one.
4. An output that is one short line is the answer itself.

Programs are the exception: `programs/extract.py` finds them, because it needs Python's parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from gldbench.grade.cues import LONGEST_ANSWER, How, Statement, document, has_cue, statements
from gldbench.grade.unwrap import (
    END_OF_TEXT,
    balanced,
    is_no_prose,
    is_template,
    unwrap,
    without_emphasis,
    without_template,
)

MARKED: frozenset[How] = frozenset({"boxed", "cue", "next_line", "json", "tag", "fence"})
"""how an answer was found where the output itself says which part of it is the answer"""
Reads = Literal["answer", "refusal", ""]
More = Callable[[str], list[Statement]] | None
SHORT_LINE = 200
"""characters of the longest output that is an answer without any mark"""
LONGEST = 100_000
"""characters at the end of an output in which an answer is searched"""
TOO_LONG = "too long to parse"
"""beginning of the reason of an output that would take too long to grade; its status is "error\""""

_NAMES = "think|thinking|thought|thoughts|reasoning|reason|reflection|scratchpad|analysis|seed:think"
THINKING = (
    (rf"<(?:{_NAMES})>", rf"</(?:{_NAMES})>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    ("◁think▷", "◁/think▷"),
    (r"<\|channel\|>analysis<\|message\|>", r"<\|channel\|>final<\|message\|>"),
    (r"\Aanalysis(?=[A-Z])", r"assistantfinal"),
)
"""(opening tag, closing tag) of what models write before they answer, as expressions"""
_OPENED = re.compile("|".join(opening for opening, _ in THINKING), re.IGNORECASE)
_CLOSED = re.compile("|".join(closing for _, closing in THINKING), re.IGNORECASE)
_BEGIN_OF_TEXT = re.compile(r"\A(?:\s|<s>|<bos>|<\|(?:begin_of_text|im_start)\|>(?:assistant)?|\[/INST\])+")
_RUN_ON = re.compile(
    r"\n[ \t\r]*\n[ \t#*]*(?:Q|Question|Problem|Passage|Exercise|Input|Example|Instruction|Human|User)\b"
    r"[ \t]*(?:\#?\d+)?[ \t]*[:.]"
    r"|\nQ:|\n###[ \t]*(?:Instruction|Question|Problem|Input)\b|\n(?:Human|User):"
)


@dataclass(frozen=True)
class Found:
    """An answer as the output writes it."""

    text: str | None
    """the rest of the line or formula after the mark; None where there is no answer"""
    how: How
    refused: bool = False
    """whether the output says that there is no answer"""


NOTHING = Found(None, "none")


def visible(output: str) -> str:
    """The part of an output that is meant for its reader.

    Everything up to the last closing tag of a thought is left out, and everything from an opening tag without a
    closing one: a thought that was cut off gives no answer. So is everything after an end-of-text token.
    """
    closings = list(_CLOSED.finditer(output))
    text = output[closings[-1].end() :] if closings else output
    opened = _OPENED.search(text)
    text = _BEGIN_OF_TEXT.sub("", text[: opened.start()] if opened else text)
    return END_OF_TEXT.split(text, maxsplit=1)[0]


def stopped(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop string, where `eval` stops generating. A text that begins with one keeps it."""
    begin = len(text) - len(text.lstrip())
    for word in stop:
        place = text.find(word, begin)
        text = text[:place] if place > 0 else text
    return text


def readable(output: str, stop: Sequence[str] = ()) -> str:
    """The part of an output in which every rule searches: visible, up to the first stop string, of bounded length.

    All bounds of the finder are counts of characters. None is a time limit, so that an output gets the same grade on a
    slow machine.
    """
    return stopped(visible(output)[-LONGEST:], stop)


def last_line(text: str) -> str:
    """The last line that is not empty, as far as an answer is read."""
    return text.rstrip().rpartition("\n")[2].strip()[:LONGEST_ANSWER]


def find(
    output: str,
    reads: Callable[[str], Reads],
    stop: Sequence[str] = (),
    *,
    cue_a: bool = True,
    more: More = None,
    longest_bare: int = SHORT_LINE,
    fits: Callable[[str], bool] = is_no_prose,
) -> Found:
    """The answer that an output settles on.

    Args:
        output: what a model wrote.
        reads: what a text is for this benchmark: an answer, a refusal, or neither ("").
        stop: the strings at which `eval` stops generating.
        cue_a: whether "A:" at the beginning of a line is a cue; not where A is an option.
        more: further statements that a kind of answer knows, as `cues.statements` takes them.
        longest_bare: characters of the longest line that is an answer without a mark.
        fits: whether the line after a cue looks like an answer of this kind. It may also be the next sentence of the
            reasoning, or garbled. A line that does not fit is passed over.
    """
    own = _Rules(reads, cue_a, more, fits)
    text = readable(output, stop)
    cut = next((match.start() for match in _RUN_ON.finditer(text) if text[: match.start()].strip()), None)
    if cut is not None:
        found = _find(text[:cut], own, longest_bare)
        if found.text is not None or found.refused:
            return found
    return _find(text, own, longest_bare)


@dataclass(frozen=True)
class _Rules:
    """What `find` was told about the kind of answer."""

    reads: Callable[[str], Reads]
    cue_a: bool
    more: More
    fits: Callable[[str], bool]

    def read(self, text: str, how: How) -> Reads:
        """What a statement is. The template of a prompt, repeated by the output, says nothing."""
        if is_template(unwrap(text)) or (how == "next_line" and not self.fits(text)):
            return ""
        return self.reads(without_template(text))


def _find(text: str, own: _Rules, longest_bare: int) -> Found:
    whole = document(text)
    if whole is not None:
        kind = own.read(whole, "json")
        inner = _find(whole, own, 0).text if kind == "answer" else None
        if kind == "answer":
            return Found(inner or whole, "json")
        return Found(None, "none", refused=kind == "refusal")
    plain = without_emphasis(text)
    for _, said, how in reversed(statements(plain, own.cue_a, own.more)):
        kind = own.read(said, how)
        if kind:
            return Found(without_template(said), how) if kind == "answer" else Found(None, "none", refused=True)
    lines = [line.strip() for line in plain.split("\n") if line.strip()]
    if len(lines) == 1 and len(lines[0]) <= longest_bare and not has_cue(plain) and not _cut_off(lines[0]):
        kind = own.read(lines[0], "bare")
        return Found(lines[0], "bare") if kind == "answer" else Found(None, "none", refused=kind == "refusal")
    return NOTHING


def _cut_off(line: str) -> bool:
    """Whether a formula was begun and not ended."""
    return "\\" in line and not balanced(line)


def last_match(pattern: str, output: str) -> str | None:
    """Group 1 of the last match, without the spaces around it. None without a match, or where it is only spaces."""
    found = re.findall(pattern, output)
    return (found[-1].strip() or None) if found else None
