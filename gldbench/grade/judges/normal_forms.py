"""How an extracted answer is compared with the gold answer: `SCORERS`, the values of a task's key `scorer`.

Each scorer exists twice: as regular expressions that lm-eval's `exact_match` takes out of both sides, and as our own
function. Two graders that agree on real responses are a check of each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Scorer:
    """A normal form of answers; two answers are equal where their normal forms are."""

    normalise: Callable[[str], Any]
    ignore: tuple[str, ...] = ()
    """for lm-eval: expressions removed from both sides, one after the other, before lower case is compared"""
    code: bool = False
    """the answer is a program: its outputs are compared instead"""


def _bare(text: str) -> str:
    """Lower case, no white space."""
    return "".join(text.lower().split())


_THOUSANDS = r"(?<=\d),(?=\d{3}(?!\d))"
_WRAPPER = r"\\(?:text(?:bf|it|rm)?|math(?:bf|rm)|mbox)\s*"
_NUMBER_IGNORE = (
    rf"{_WRAPPER}\{{[^{{}}\d]*\}}",  # \text{ dollars}
    rf"{_WRAPPER}|[{{}}]",  # \textbf{18}, 1{,}000
    r"\\[,;:! ]|~",  # LaTeX spaces
    r"\\?[$%]|[€£]",
    _THOUSANDS,
    r"^\s*[A-Za-z]\w*\s*=",  # x = 18
    r"(?<=\d)\.?\s*[A-Za-z°][A-Za-z°/ .]*$",  # 18 eggs per day.
    r"\s",
    r"(?<=\d)\.0*$",
    r"^\+",
)


def number(text: str) -> Fraction | str:
    """The value of "$1,234.50", "18 dollars", "\\\\frac{1}{2}" or "3/4"; the bare text where it is no number."""
    text = re.sub(r"\\d?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"\1/\2", text)
    for expression in _NUMBER_IGNORE:
        text = re.sub(expression, "", text)
    if len(text) < 1000 and re.fullmatch(r"-?\d+(?:\.\d+)?|-?\d+/0*[1-9]\d*", text):  # Python refuses 4300 digits
        return Fraction(text)
    return _bare(text)


_QUOTES = r"[\"'“”‘’`*$]"
_SHORT_IGNORE = (
    _QUOTES,
    r"^\s+|\s+$",
    r"(?i)^option\s+(?=\(?[A-Z]\b)",
    r"(?<=^\([A-Za-z]\))(?!.*\([A-Z]\)).+",  # (B) the ball -> (B), but (B) or (C) stays
    r"(?<=^[A-Z]\))\s.+",  # B) the ball -> B)
    _THOUSANDS,
    r"\s+",
    r"^\((?=[A-Za-z]\)$)",  # (B) -> B)
    r"(?<=^[A-Za-z])\)$",  # B) -> B
    r"(?<=\d)\.0+$",
    r"(?<=[^.])\.+$",
)


def short_answer(text: str) -> str:
    """An option's letter, a number, a word or words, brackets: without quotes, emphasis, option text and case.

    Words keep their borders, which lm-eval's expressions cannot do without losing "} ]" = "}]".
    """
    text = re.sub(_QUOTES, "", text).strip()
    option = re.match(
        r"(?i)^(?:option\s+)?\(([A-Z])\)(?!.*\([A-Z]\))|^(?:option\s+)?([A-Z])\s*[).:]?$|^([A-Z])\)\s", text
    )
    if option:
        return next(letter for letter in option.groups() if letter).lower()
    words = re.sub(_THOUSANDS, "", text).lower().rstrip(".").split()
    joined = "".join(words)
    if re.fullmatch(r"-?\d+\.0+", joined):
        return joined.partition(".")[0]
    return " ".join(words) if re.search(r"\w", joined) else joined


SCORERS: dict[str, Scorer] = {
    "exact_match": Scorer(_bare, (r"\s+",)),
    "number": Scorer(number, _NUMBER_IGNORE),
    "short_answer": Scorer(short_answer, _SHORT_IGNORE),
    "code": Scorer(_bare, code=True),
}
