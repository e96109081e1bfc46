"""Reading a number out of an answer: GSM8K."""

from __future__ import annotations

import re
from fractions import Fraction

from gldbench.grade.answers import Reads
from gldbench.grade.unwrap import LATEX_WRAPPER, first_sentence, is_refusal, unwrap, without_remark

_FRACTION = re.compile(r"\\[dtc]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_IGNORED = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{LATEX_WRAPPER}\s*\{{[^{{}}\d]*\}}(?:\s*\^\s*\{{?\d\}}?)?",  # \text{ dollars}, \text{cm}^2
        rf"{LATEX_WRAPPER}\s*|[{{}}]",  # \textbf{18}, 1{,}000
        r"\\[,;:! ]|~|\\(?:left|right|q?quad)(?![a-z])",
        r"\\?[$%]|[€£¥₹]|\b(?:USD|Rs\.?)(?![a-z])",
        r"(?<=\d),(?=\d{3}(?!\d))",
        r"<<[^<>]*>>",  # GSM8K's calculator annotations
    )
)
_DIGITS = r"(?:\d+(?:\.\d+)?|\.\d+)"
_VALUE = rf"[-+]?(?:\d+\s+\d+/\d+|{_DIGITS}(?:\s*/\s*\d+(?![\d.]))?)"
_LEADING = re.compile(rf"({_VALUE})(?!\d|[:.]\d)(.*)", re.DOTALL)
_MORE = re.compile(r"\s*(?:[-–]\s*\d|to\b|or\b)")
_GOES_ON = re.compile(
    r"\s*[;,(]\s|\s*(?:[a-zA-Z]+\s+){0,3}?(?:for|per|at|from|out of|after|because|since|as|in|when|with|each|by|every|"
    r"over|if|on|which|so|left)\b",
    re.IGNORECASE,
)
_LONGEST = 60
"""characters of the longest number: Python refuses to read 4,300 digits"""


def reads_number(text: str) -> Reads:
    """An answer holds a digit."""
    if re.search(r"\d", text):
        return "answer"
    return "refusal" if is_refusal(text) else ""


def number(text: str) -> Fraction | None:
    """The number that an answer states: "$1,234.50", "18 eggs a day", "9 * 2 = 18", "about 3/4 (of the eggs)".

    None where it states no number, or several: "2:10 pm", "5 hours and 30 minutes", "25 to 30".
    """
    sentence = first_sentence(unwrap(text))
    for reading in dict.fromkeys((sentence, unwrap(without_remark(unwrap(sentence))))):
        value = _value(_plain(reading))
        if value is not None:
            return value
    return None


def last_number(text: str) -> Fraction | None:
    """The last number anywhere in a text: the most lenient rule."""
    found = re.findall(rf"(?<![\w.])-?{_DIGITS}(?:/\d+)?", _plain(text))
    return _fraction(found[-1]) if found else None


def _plain(text: str) -> str:
    text = _FRACTION.sub(r"\1/\2", unwrap(text))
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return " ".join(text.split())


def _fraction(text: str) -> Fraction | None:
    text = re.sub(r"\s*/\s*", "/", text.strip())
    mixed = re.fullmatch(r"([-+]?)(\d+)\s+(\d+)/(\d+)", text)
    if len(text) > _LONGEST:
        return None
    try:
        if mixed:
            value = int(mixed[2]) + Fraction(int(mixed[3]), int(mixed[4]))
            return -value if mixed[1] == "-" else value
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def _value(text: str) -> Fraction | None:
    text = text.strip().rstrip(".")
    whole = _fraction(text)
    if whole is not None:
        return whole
    if re.search(r"[=≈]", text):
        result = _value(re.split(r"[=≈]", text)[-1])
        if result is not None:
            return result
    leading = _LEADING.match(text)
    if leading:
        alone = not re.search(r"\d", leading[2]) and not _MORE.match(leading[2])
        return _fraction(leading[1]) if alone or _GOES_ON.match(leading[2]) else None
    distinct = {_fraction(found) for found in re.findall(_VALUE, text)}
    return distinct.pop() if len(distinct) == 1 and not re.search(r"\d:\d", text) else None
