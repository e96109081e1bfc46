"""Judges of short answers: exact matches, numbers and short texts.

A task either names patterns, whose last match is the answer (the embedded world), or leaves the finding to
`answers.find`, whose answer is under the filter "answer" (GSM8K, BBH). Patterns may stand beside it under other names.

Each normal form of a pattern exists twice: as our own function, and as regular expressions that lm-eval's `exact_match`
removes from both answers. The graders "ours" and "lm_eval" use one each: where they agree, each confirms the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from gldbench.grade.answers import Found, Reads, find, last_match, readable
from gldbench.grade.cues import LONGEST_ANSWER
from gldbench.grade.judges.judge import ANSWER, LENIENT, PATTERN_METRIC, Judge, Mark, NormalForm
from gldbench.grade.judges.numbers import last_number, number, reads_number
from gldbench.grade.judges.short_answers import last_readings, readings, reads_short_answer
from gldbench.grade.unwrap import is_no_prose
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


def number_form(text: str) -> Fraction | str:
    """The value of "$1,234.50", "18 dollars", "\\frac{1}{2}" or "3/4". A text without a number stays a text."""
    value = number(text)
    return _bare(text) if value is None else value


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


def short_form(text: str) -> str:
    """The first reading of a short answer; see `short_answers.readings`."""
    return next(iter(readings(text)), "")


def _number_is_right(text: str, gold: str) -> bool:
    return number(text) is not None and number(text) == number(gold)


def _reading_is_right(text: str, gold: str) -> bool:
    return not set(readings(text)).isdisjoint(readings(gold))


def _last_number_is_right(text: str, gold: str) -> bool:
    value = last_number(text)
    return value is not None and value == number(gold)


def _last_reading_is_right(text: str, gold: str) -> bool:
    return not set(last_readings(text)).isdisjoint(readings(gold))


Compare = Callable[[str, str], bool]
"""(answer or output, gold) -> whether the answer is right"""


def _judge(
    form: NormalForm,
    reads: Callable[[str], Reads] | None,
    right: Compare,
    lenient: Compare,
    fits: Callable[[str], bool] = is_no_prose,
) -> Judge:
    """The judge of a normal form. `reads`, `fits`: as in `answers.find`, where a task leaves the finding to it."""

    def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
        return [
            [
                *found(task, item, output),
                *(_pattern_mark(form, name, pattern, item, output) for name, pattern in patterns),
            ]
            for item, output in zip(items, outputs, strict=True)
            for patterns in [task.patterns.items()]
        ]

    def found(task: Task, item: Item, output: str) -> list[Mark]:
        if reads is None or task.headline.filter != ANSWER or ANSWER in task.patterns:
            return []
        stop = task.generation.stop
        answer = find(output, reads, stop, fits=fits)
        value = float(answer.text is not None and right(answer.text, item.target))
        loose = float(value or lenient(readable(output, stop), item.target))
        return [_mark(ANSWER, value, answer), _mark(LENIENT, loose, answer)]

    return Judge(judge, form)


def _mark(name: str, value: float, found: Found) -> Mark:
    return Mark(
        filter=name,
        metric=PATTERN_METRIC,
        value=value,
        answered=found.text is not None,
        how=found.how,
        found=found.text or "",
    )


def _pattern_mark(form: NormalForm, name: str, pattern: str, item: Item, output: str) -> Mark:
    answer = last_match(pattern, readable(output))
    equal = (
        answer is not None and len(answer) <= LONGEST_ANSWER and form.normalise(answer) == form.normalise(item.target)
    )
    return Mark(
        filter=name,
        metric=PATTERN_METRIC,
        value=float(equal),
        answered=answer is not None,
        how="none" if answer is None else "cue",
        found=answer or "",
    )


EXACT_MATCH = _judge(NormalForm(_bare, ignore=(r"\s+",)), None, _reading_is_right, _reading_is_right)
NUMBER = _judge(
    NormalForm(number_form, ignore=_NUMBER_IGNORE),
    reads_number,
    _number_is_right,
    _last_number_is_right,
    fits=lambda line: number(line) is not None,
)
SHORT_ANSWER = _judge(
    NormalForm(short_form, ignore=_SHORT_IGNORE), reads_short_answer, _reading_is_right, _last_reading_is_right
)
