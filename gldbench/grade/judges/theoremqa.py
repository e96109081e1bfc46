"""The judge of TheoremQA. The type of the gold answer decides how it is compared. No text is evaluated as code.

- integer: exactly this number;
- float: within 4 % of the gold answer, the tolerance of TheoremQA itself (some of its gold answers are rounded to two
  digits), or within 1e-6 of a gold answer of zero;
- list of integer, list of float: as many numbers as in the gold answer, in any order, as in TheoremQA;
- bool: true or false, yes or no;
- option: the letter.

Numbers are read as decimals, fractions, scientific notation and per cent. Other LaTeX (pi, e^x, roots, logarithms) is
read by math-verify's grammar.

Source: Chen et al., 2023, TheoremQA, arXiv:2305.12524, for the tolerance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from gldbench.grade.answers import boxed_or_said, chosen_letter
from gldbench.grade.judges.equivalence import MAX_CHARACTERS, Reply, values
from gldbench.grade.judges.judge import Judge, Mark
from gldbench.grade.judges.math import spelled, without_unit
from gldbench.schema import Item, Task

RELATIVE = 0.04
"""relative tolerance of floats: `within_eps` in TheoremQA's code"""
NEAR_ZERO = 1e-6
"""absolute tolerance of a gold answer of zero"""

_TRUTH = re.compile(r"\b(?:(not\s+true|false|no)|(true|yes))\b", re.IGNORECASE)
_POWER_OF_TEN = re.compile(
    r"([-+]?\d+(?:\.\d*)?)\s*(?:\\times|\\cdot|×|·|\*|x)\s*10\s*(?:\^|\*\*)\s*[{(]*\s*([-+]?\d{1,3})(?:\s*[})])*"
)
_PLAIN = re.compile(r"[-+]?(?:\d{1,50}(?:\.\d{1,50})?|\.\d{1,50})(?:[eE][-+]?\d{1,3})?")
_FUNCTIONS = "sqrt|ln|log|sin|cos|tan|arcsin|arccos|arctan|exp|pi"
_SPELLINGS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[−–]", "-"),
        (r"\*\*", "^"),
        (r"\*", r" \\cdot "),
        (r"π", r"\\pi "),
        (r"√", "sqrt"),
        (rf"(?<![\\a-zA-Z])({_FUNCTIONS})(?![a-zA-Z])", r"\\\1"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\sqrt\s*(\d+)", r"\\sqrt{\1}"),
        (r"\^\s*\(([^()]*)\)", r"^{\1}"),
        (r"\^\s*(-\s*\d+(?:\.\d+)?|\d{2,}(?:\.\d+)?|\d\.\d+)", r"^{\1}"),
    )
)
_ABOUT = re.compile(r"^\s*(?:approximately|about|roughly|around|\\approx|≈|\\simeq|\\sim|~)\s*")
_EQUALS = re.compile(r"=|\\approx|≈|\\simeq|\\doteq")
_WITH_UNIT = re.compile(r"(\S+(?:\s*\\cdot\s*\S+)*)\s+[a-zA-ZΩ°µμ][^\d]*(?:\^\s*\{?-?\d\}?)?")
_BRACKETS = re.compile(r"\\begin\{\w*matrix\}|\\end\{\w*matrix\}|\\[{}]|(?<!sqrt)\[|(?<!sqrt\[\d)\]")
_SEPARATOR = re.compile(r"\s*(?:,\s*and\b|,|;|\\\\|&|\band\b)\s*")


def plain_number(text: str) -> float | None:
    """The value of a decimal (1.5, 1,000, 1.2e-5) or of a fraction of two decimals. None for any other text."""
    text = text.replace(" ", "")
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        text = text.replace(",", "")
    fraction = re.fullmatch(r"([-+]?)(?:\\frac\{([^{}]+)\}\{([^{}]+)\}|([^/]+)/([^/]+))", text)
    above, below = [part for part in fraction.groups()[1:] if part] if fraction else (text, "1")
    if not (_PLAIN.fullmatch(above) and _PLAIN.fullmatch(below)) or not Fraction(below):
        return None
    value = Fraction(above) / Fraction(below)
    return float(-value if fraction and fraction[1] == "-" else value)


def readings(text: str) -> list[str]:
    """Ways to read the number in the text, likeliest first: all of it, without its unit, what follows the last "="."""
    text = _POWER_OF_TEN.sub(r"\1e\2", _ABOUT.sub("", spelled(text)))
    texts = [text, _ABOUT.sub("", _EQUALS.split(text)[-1].strip())]
    for pattern, replacement in _SPELLINGS:
        texts = [pattern.sub(replacement, text).strip() for text in texts]
    unitless = [without_unit(text, True) for text in texts]
    with_unit = [match[1] for text in texts if (match := _WITH_UNIT.fullmatch(text))]
    return [text for text in dict.fromkeys([texts[0], unitless[0], *texts, *unitless, *with_unit]) if text]


def parts(text: str) -> list[str]:
    """The texts of the members of a list, a vector or a set."""
    text = spelled(text)
    after = _EQUALS.split(text)[-1].strip()
    if re.match(r"[\[({\\]", after):
        text = after
    text = _BRACKETS.sub(" ", re.sub(r"\^\s*\{?\s*(?:\\top|T)\s*\}?\s*$", "", text)).strip()
    outer = re.fullmatch(r"\((.*)\)|\{(.*)\}", text, re.DOTALL)
    text = (outer[1] or outer[2] or "") if outer else text
    return [part for part in _SEPARATOR.split(text) if part.strip()]


def near(value: float, gold: float) -> bool:
    """Whether the value is within the tolerance for the gold answer's type: an integer exactly, a float by 4 %."""
    if isinstance(gold, int):
        return abs(value - gold) <= max(1e-6, 1e-12 * abs(gold))
    return abs(value - gold) <= (RELATIVE * abs(gold) or NEAR_ZERO)


def _right(members: Sequence[str], golds: Sequence[float], known: Mapping[str, Reply]) -> bool:
    """Whether there are as many numbers as gold answers, and both are equal when sorted."""
    if len(members) != len(golds):
        return False
    found = [_number(member, known) for member in members]
    if any(number is None for number in found):
        return False
    percent = 100.0 if all("%" in member for member in members) else 1.0  # 17 % may stand for 0.17 or for 17
    numbers = sorted(number for number in found if number is not None)
    return any(
        all(near(number * scale, gold) for number, gold in zip(numbers, sorted(golds), strict=True))
        for scale in {1.0, 1 / percent}
    )


def _number(text: str, known: Mapping[str, Reply]) -> float | None:
    """The first reading that is a plain number, or else the first one that math-verify reads as one number."""
    written = readings(text)
    plain = [value for reading in written if (value := plain_number(reading)) is not None]
    parsed = [known[reading].value for reading in written if reading in known]
    alone = [numbers[0] for numbers in parsed if numbers and len(numbers) == 1]
    return next(iter(plain + alone), None)


def _members(item: Item, answer: str | None) -> list[str]:
    """The texts in the answer that have to be numbers. Empty for other types of answers and for very long ones."""
    kind = item.record["Answer_type"]
    if answer is None or len(answer) > MAX_CHARACTERS or kind in ("bool", "option"):
        return []
    return parts(answer) if kind.startswith("list") else [answer]


def _truth(text: str) -> bool | None:
    found = _TRUTH.search(text)
    return bool(found[2]) if found else None


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """One mark per item: filter "answer", metric "accuracy"."""
    answers = [boxed_or_said(output) for output in outputs]
    members = [_members(item, answer) for item, answer in zip(items, answers, strict=True)]
    written = [readings(member) for own in members for member in own]
    unread = [text for texts in written if all(plain_number(text) is None for text in texts) for text in texts]
    known = dict(zip(unread, values(unread), strict=True))
    marks = []
    for item, output, answer, own in zip(items, outputs, answers, members, strict=True):
        gold: Any = item.record["Answer"]
        if item.record["Answer_type"] == "option":
            letter = chosen_letter(output)
            right, answered = letter is not None and f"({letter.lower()})" == gold, letter is not None
        elif item.record["Answer_type"] == "bool":
            truth = _truth(answer or "")
            right, answered = truth is gold, truth is not None
        else:
            right, answered = _right(own, gold if isinstance(gold, list) else [gold], known), answer is not None
        marks.append([Mark(filter="answer", metric="accuracy", value=float(right), answered=answered)])
    return marks


THEOREMQA = Judge(judge)
