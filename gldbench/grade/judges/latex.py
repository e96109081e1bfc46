"""Comparing LaTeX as text: one spelling, units, words and decimals. What this cannot decide is for math-verify."""

from __future__ import annotations

import re
from fractions import Fraction

from gldbench.grade.judges.equivalence import MAX_CHARACTERS

_COMMAND = r"\\(?:text(?:bf|it|rm|normal)?|math(?:bf|rm|it)|mbox|operatorname)"
_TEXT = re.compile(rf"{_COMMAND}\s*\{{([^{{}}]*)\}}")
_SPELLINGS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\?\$|(?<!\\)\\[()\[\]]", " "),
        (r"\\(?:left|right|displaystyle|limits|[bB]igg?)(?![a-zA-Z])|(?<!\\)\\[,;:! ]|~|\\q?quad(?![a-zA-Z])", " "),
        (r"\{\s*,\s*\}", ","),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(l|g)(?:e|eq|eqslant)(?![a-zA-Z])", r"\\\1eq"),
        (r"\\frac\s*(\d)\s*(\d+)", r"\\frac{\1}{\2}"),  # TeX reads one digit, but who writes \frac141 means 1/41
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d+)", r"\1{\2}"),
        (r"\\sqrt\s*(\d+)", r"\\sqrt{\1}"),
        (r"([_^])\s*\{\s*(\w)\s*\}", r"\1\2"),
        (r"(?<![\d.])\.(?=\d)", "0."),
        (r"\s+", " "),
    )
)
_PERCENT = r"\\?%|\bper\s?cent\b"
_MARKED_UNIT = rf"\^\s*\{{?\\circ\}}?|°|\bdegrees?\b|{_PERCENT}|{_COMMAND}\s*\{{[^{{}}\d]*\}}(?:\s*\^\s*\{{?\d\}}?)?"
_UNIT = re.compile(rf"(?<=\S)\s*(?:{_MARKED_UNIT})\s*$")
_BARE_UNIT = re.compile(r"(?<=[\d}])(?:\s+[a-z]{2,}\.?|\s+[a-z](?=\s|\^|$))+(?:\s*\^\s*\{?\d\}?)?\s*$")
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_BASE = re.compile(r"([\dA-F]+)_(\d+|\{\d+\})")


def spelled(text: str) -> str:
    """The text in one spelling of LaTeX: without dollars and spacing commands, with braces around arguments."""
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    return text.strip().rstrip(".").strip()


def as_text(text: str) -> str:
    """The form for comparing as text: no spaces, \\text, brackets around an option, or thousands separators."""
    text = "".join(_TEXT.sub(r"\1", text).replace("\\%", "%").split())
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    option = re.fullmatch(r"\(([A-Z])\)", text)
    return option[1] if option else text


def _is_word(text: str) -> bool:
    """Whether the answer is words or an option, and not a product of variables."""
    return bool(re.fullmatch(r"[^\W\d_]{4,}", as_text(text)) or re.fullmatch(rf"\(?\s*{_TEXT.pattern}\s*\)?\.?", text))


def _decimal(text: str) -> Fraction | None:
    text = as_text(text)
    return Fraction(text) if re.fullmatch(r"[-+]?\d{1,50}(?:\.\d{1,50})?", text) else None


def without_unit(text: str, bare: bool) -> str:
    """The text without the units at its end. With `bare`, words without \\text count as units too."""
    for _ in range(8):  # as many units as anybody writes
        before, text = text, _UNIT.sub("", text)
        text = _BARE_UNIT.sub("", text) if bare else text
        if text == before:
            break
    return text


def decided(gold: str, answer: str) -> bool | None:
    """The verdict, where a comparison of texts or plain decimals suffices. None where it takes math-verify."""
    pairs = ((gold, answer), (without_unit(gold, False), without_unit(answer, True)))
    if any(as_text(a) == as_text(b) for a, b in pairs):
        return True
    if _is_word(gold) or _is_word(answer):
        return as_text(gold).casefold() == as_text(answer).casefold()
    based = [_BASE.fullmatch(as_text(text)) for text in (gold, answer)]
    if any(based):
        texts = [match[1] if match else as_text(text) for match, text in zip(based, (gold, answer), strict=True)]
        return texts[0] == texts[1] and not all(based)
    decimals = [_decimal(text) for text in pairs[1]]
    percents = [bool(re.search(_PERCENT, text)) for text in (gold, answer)]
    if None not in decimals and percents[0] == percents[1]:
        return decimals[0] == decimals[1]
    return False if max(len(gold), len(answer)) > MAX_CHARACTERS else None


def pairs_of(gold: str, answer: str) -> list[tuple[str, str]]:
    """Pairs of readings (gold, answer). The answer is right where any pair is equivalent."""
    unitless = without_unit(gold, False), without_unit(answer, True)
    as_fraction = [re.sub(rf"^(.*[^\s\\])\s*(?:{_PERCENT})$", r"\\frac{\1}{100}", text) for text in (gold, answer)]
    pairs = [(gold, answer), unitless, (as_fraction[0], answer), (gold, as_fraction[1])]
    return list(dict.fromkeys(pairs))
