"""Reading numbers and lists of numbers out of an answer: TheoremQA."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from gldbench.grade.judges.equivalence import MAX_CHARACTERS
from gldbench.grade.judges.latex import spelled, without_unit
from gldbench.grade.unwrap import first_sentence, unwrap, without_remark

Ask = Callable[[str], Sequence[float] | None]
"""LaTeX text -> the numbers that math-verify reads in it"""

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
_TERM = r"(?:[^\s\\]|\\(?!cdot))+"
_SPACED_UNIT = re.compile(rf"({_TERM}(?:\s*\\cdot\s*{_TERM})*)\s+[a-zA-ZΩ°µμ][^\d]*(?:\^\s*\{{?-?\d\}}?)?")
_BRACKETS = re.compile(r"\\begin\{\w*matrix\}|\\end\{\w*matrix\}|\\[{}]|(?<!sqrt)\[|(?<!sqrt\[\d)\]")
_SEPARATOR = re.compile(r"\s*(?:,\s*and\b|,|;|\\\\|&|\band\b)\s*")
_NUMBER = (
    r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
    r"(?:\s*(?:\\times|×|\*|x|\\cdot)\s*10\s*\^\s*\{?\(?\s*[-+]?\d+\)?\}?|[eE][-+]?\d+)?|[-+]?\.\d+"
)
_UNIT = re.compile(
    rf"({_NUMBER})\s*(?:\\?[%°]|(?!/?\s*\\?(?:sqrt|pi|ln|log|sin|cos|tan|exp|e\b|x\b|n\b|i\b))"
    r"[a-zA-ZΩ°µμ$€£%/^\\][^\d=]*(?:\^\s*\{?-?\d\}?[^\d]*)?)\Z"
)
_BEGINS = re.compile(rf"({_NUMBER})\s*(?:[,;]\s+(?=[a-zA-Z]{{2}})|(?:because|since|as|where|which|for|in)\s)")
_CLAUSE = re.compile(
    r"\b(?:is|equals?|are|be|of|=|≈|approximately|about|to)\s+(?:equal to\s+|approximately\s+|about\s+)?(\S.*)\Z",
    re.DOTALL,
)
_OPTION = re.compile(r"\A\(?[a-eA-E][).:]\s+(?=[-+]?[\d.\\$])")
_INEQUALITY = re.compile(
    r"[<>≤≥≠]|\\(?:le|ge|leq|geq|lt|gt|neq|leqslant|geqslant)(?![a-zA-Z])"
    r"|\b(?:at (?:least|most)|(?:less|greater|more|fewer|larger|smaller) than|no more than|between)\b",
    re.IGNORECASE,
)
_FACTOR = re.compile(r"(?<!\\)\btimes\b|\bper\s?cent of\b|\btwice\b|\bhalf (?:of )?the\b", re.IGNORECASE)
_SIZE_WORDS = re.compile(r"\\(?:left|right)")
_PARSED = 6
"""candidates of one answer that math-verify is asked about"""


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


def quantity(text: str, ask: Ask) -> float | None:
    """The number that an answer states: "1, because ...", "the ratio of A is 1.56", "8kHz", "0.0829 or 8.29 %".

    None for an inequality, for a factor in words ("2 pi times the charge") and for two numbers that differ.
    """
    if len(text) > MAX_CHARACTERS or _INEQUALITY.search(_SIZE_WORDS.sub("", text)) or _FACTOR.search(text):
        return None
    alternatives = re.split(r"\s+or\s+", unwrap(text))
    if len(alternatives) == 2:
        return _agreeing([quantity(part, ask) for part in alternatives], ["%" in part for part in alternatives])
    written = _candidates(text)
    for reading in (reading for candidate in written for reading in _readings(candidate)):
        value = plain_number(reading)
        if value is not None:
            return value
    for reading in (reading for candidate in written[:_PARSED] for reading in _readings(candidate)):
        numbers = ask(reading)
        if numbers and len(numbers) == 1:
            return numbers[0]
    return None


def _agreeing(values: Sequence[float | None], percent: Sequence[bool]) -> float | None:
    """The first of two numbers that mean the same, to 1 %: 0.0829 and 8.29 %."""
    first, second = values
    if first is None or second is None:
        return None
    scaled = [value / 100 if is_percent else value for value, is_percent in zip((first, second), percent, strict=True)]
    near = any(abs(a - b) <= 0.01 * abs(b) for a, b in ((first, second), (scaled[0], scaled[1])))
    return first if near else None


def _candidates(text: str) -> list[str]:
    """The parts of an answer that may be its number, likeliest first."""
    found: list[str] = []

    def add(part: str) -> None:
        bare = unwrap(without_remark(unwrap(part)))
        begins, with_unit = _BEGINS.match(bare), _UNIT.fullmatch(bare)
        found.extend((unwrap(part), bare, _OPTION.sub("", bare)))
        found.extend(match[1] for match in (begins, with_unit) if match)

    whole = unwrap(text)
    add(whole)
    clause = unwrap(first_sentence(whole))
    add(clause)
    for _ in range(6):  # "the ratio of A is 1.56": each time one word further
        match = _CLAUSE.search(clause)
        if match is None:
            break
        clause = match[1]
        add(clause)
    return [part for part in dict.fromkeys(found) if part]


def _readings(text: str) -> list[str]:
    """Ways to read a number, likeliest first: all of the text, without its unit, what follows the last "="."""
    text = _POWER_OF_TEN.sub(r"\1e\2", _ABOUT.sub("", spelled(text)))
    texts = [text, _ABOUT.sub("", _EQUALS.split(text)[-1].strip())]
    for pattern, replacement in _SPELLINGS:
        texts = [pattern.sub(replacement, part).strip() for part in texts]
    unitless = [without_unit(part, True) for part in texts]
    spaced = [match[1] for part in texts if (match := _SPACED_UNIT.fullmatch(part))]
    return [part for part in dict.fromkeys([texts[0], unitless[0], *texts, *unitless, *spaced]) if part]


_AFTER_LIST = re.compile(r"(\])\s*,?\s*(?:where|because|since|with|for|which)\b.*\Z", re.DOTALL)


def parts(text: str) -> list[str]:
    """The texts of the members of a list, a vector or a set: "[1, 0, 1], where ..." has three."""
    text = spelled(unwrap(without_remark(_AFTER_LIST.sub(r"\1", unwrap(first_sentence(unwrap(text)))))))
    after = _EQUALS.split(text)[-1].strip()
    if re.match(r"[\[({\\]", after):
        text = after
    text = _BRACKETS.sub(" ", re.sub(r"\^\s*\{?\s*(?:\\top|T)\s*\}?\s*$", "", text)).strip()
    outer = re.fullmatch(r"\((.*)\)|\{(.*)\}", text, re.DOTALL)
    text = (outer[1] or outer[2] or "") if outer else text
    return [part for part in _SEPARATOR.split(text) if part.strip()]
