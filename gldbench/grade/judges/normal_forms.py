"""Judges of short answers: a task's pattern finds the answer, and a normal form compares it with the gold answer.

Each normal form exists twice: as our own function, and as regular expressions that lm-eval's `exact_match` removes from
both answers. The graders "ours" and "lm_eval" use one each: where they agree on responses, each confirms the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from gldbench.grade.answers import last_match
from gldbench.grade.judges.judge import PATTERN_METRIC, Judge, Mark, NormalForm
from gldbench.schema import Item, Task


def _bare(text: str) -> str:
    """The text in lower case without white space."""
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
    """The value of "$1,234.50", "18 dollars", "\\frac{1}{2}" or "3/4". A text without a number stays a text."""
    text = re.sub(r"\\d?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"\1/\2", text)
    for expression in _NUMBER_IGNORE:
        text = re.sub(expression, "", text)
    if len(text) < 1000 and re.fullmatch(r"-?\d+(?:\.\d+)?|-?\d+/0*[1-9]\d*", text):  # Python does not read 4300 digits
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
    """An option's letter, a number, words or brackets, without quotes, emphasis, the text of the option and case.

    Words stay separate words. lm-eval's expressions cannot keep them apart, because "} ]" must equal "}]" there too.
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


def _comparing(form: NormalForm) -> Judge:
    """The judge that compares what each of the task's patterns finds, in the given form."""

    def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
        return [
            [_mark(form, name, last_match(pattern, output), item.target) for name, pattern in task.patterns.items()]
            for item, output in zip(items, outputs, strict=True)
        ]

    return Judge(judge, form)


def _mark(form: NormalForm, name: str, answer: str | None, gold: str) -> Mark:
    equal = answer is not None and form.normalise(answer) == form.normalise(gold)
    return Mark(filter=name, metric=PATTERN_METRIC, value=float(equal), answered=answer is not None)


EXACT_MATCH = _comparing(NormalForm(_bare, ignore=(r"\s+",)))
NUMBER = _comparing(NormalForm(number, ignore=_NUMBER_IGNORE))
SHORT_ANSWER = _comparing(NormalForm(short_answer, ignore=_SHORT_IGNORE))
