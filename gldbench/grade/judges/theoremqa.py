"""The judge of TheoremQA. The type of the gold answer decides how it is compared. No text is evaluated as code.

- integer: exactly this number; where it is 1 or 0, yes or no is right too;
- float: within 4 % of the gold answer, the tolerance of TheoremQA itself (some of its gold answers are rounded to two
  digits), or within 1e-6 of a gold answer of zero;
- list of integer, list of float: as many numbers as in the gold answer, in any order, as in TheoremQA;
- bool: true or false, yes or no. "Not necessarily true" and "true for ... and false for ..." are neither;
- option: the letter.

Numbers are read as decimals, fractions, scientific notation and per cent. Other LaTeX (pi, e^x, roots, logarithms) is
read by math-verify's grammar.

Source: Chen et al., 2023, TheoremQA, arXiv:2305.12524, for the tolerance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from gldbench.grade.answers import Found, Reads, find, readable
from gldbench.grade.judges.equivalence import Reply, values
from gldbench.grade.judges.judge import ANSWER, LENIENT, Judge, Mark
from gldbench.grade.judges.numbers import last_number
from gldbench.grade.judges.quantities import Ask, parts, quantity
from gldbench.grade.unwrap import first_sentence, is_refusal, unwrap
from gldbench.schema import Item, Task

RELATIVE = 0.04
"""relative tolerance of floats: `within_eps` in TheoremQA's code"""
NEAR_ZERO = 1e-6
"""absolute tolerance of a gold answer of zero"""

_TRUTH = re.compile(r"\b(?:(not\s+true|false|no)|(true|yes))\b", re.IGNORECASE)
_HEDGE = re.compile(
    r"\bnot necessarily|true\s*/\s*false|\b(?:depends|maybe|perhaps|possibly|sometimes|either|both|if|whether)\b"
    r"|\btrue\b.*\bfalse\b|\bfalse\b.*\btrue\b|\byes\b\s*(?:/|or)\s*no\b",
    re.IGNORECASE | re.DOTALL,
)
_JUNK = re.compile(r"\W*(?:correct|right|wrong|as follows|given|below|above|clear|obvious)\W*", re.IGNORECASE)
_VALUE = re.compile(r"\d|\\|π|\bpi\b|^\W*(?:yes|no|true|false)\b|\b[a-z]\b", re.IGNORECASE)
_LETTER = re.compile(r"\(\s*([a-eA-E])\s*\)")
_LIST = re.compile(r"[\[(].*,.*[\])]", re.DOTALL)


def truth(text: str) -> bool | None:
    """True for yes and true, False for no and false. None for anything else, and where the text hedges."""
    plain = unwrap(first_sentence(unwrap(text)))
    found = None if _HEDGE.search(plain) else _TRUTH.search(plain)
    return bool(found[2]) if found else None


def option(text: str) -> str | None:
    """The one letter that the text names, in lower case."""
    plain = unwrap(first_sentence(text))
    letters = {letter.lower() for letter in _LETTER.findall(text)}
    if not letters:
        letters = {letter.lower() for letter in re.findall(r"(?<!\w)([a-eA-E])(?!\w)", plain)}
    return letters.pop() if len(letters) == 1 else None


def _reads(kind: str) -> Callable[[str], Reads]:
    """How a text is read where the gold answer is of this type."""

    def reads(text: str) -> Reads:
        plain = unwrap(text)
        if kind == "bool":
            if truth(plain) is not None:
                return "answer"
            return "refusal" if _HEDGE.search(plain) or is_refusal(plain) else ""
        if is_refusal(plain) and not re.search(r"\d", plain):
            return "refusal"
        if kind == "option":
            return "answer" if re.search(r"(?<!\w)[a-eA-E](?!\w)", plain) else ""
        return "answer" if _VALUE.search(plain) and not _JUNK.fullmatch(plain) else ""

    return reads


def near(value: float, gold: float) -> bool:
    """Whether the value is within the tolerance for the gold answer's type: an integer exactly, a float by 4 %."""
    if isinstance(gold, int):
        return abs(value - gold) <= max(1e-6, 1e-12 * abs(gold))
    return abs(value - gold) <= (RELATIVE * abs(gold) or NEAR_ZERO)


def _right(item: Item, text: str, ask: Ask) -> bool:
    """Whether the answer is right. `ask` reads LaTeX."""
    kind, gold = item.record["Answer_type"], item.record["Answer"]
    if kind == "bool":
        return truth(text) is gold
    if kind == "option":
        return f"({option(text)})" == gold
    if kind.startswith("list"):
        return _all_near(parts(text), gold, ask)
    said = truth(text) if not re.search(r"\d", text) else None
    if said is not None and gold in (0, 1):
        return int(said) == gold
    several = _LIST.search(text) and len(parts(text)) > 1 and not re.search(r"\d,\d{3}(?!\d)", text)
    return not several and _all_near([text], [gold], ask)


def _all_near(members: Sequence[str], golds: Sequence[float], ask: Ask) -> bool:
    """Whether there are as many numbers as gold answers, and both are near each other when sorted."""
    if len(members) != len(golds):
        return False
    found = [quantity(member, ask) for member in members]
    numbers = sorted(number for number in found if number is not None)
    percent = 100.0 if all("%" in member for member in members) else 1.0  # 17 % may stand for 0.17 or for 17
    return len(numbers) == len(found) and any(
        all(near(number * scale, gold) for number, gold in zip(numbers, sorted(golds), strict=True))
        for scale in {1.0, 1 / percent}
    )


def _last_is_right(item: Item, text: str) -> bool:
    """Whether the last number, truth value or letter of an output is right: the most lenient rule."""
    kind, gold = item.record["Answer_type"], item.record["Answer"]
    if kind == "bool":
        words = _TRUTH.findall(text)
        return bool(words) and bool(words[-1][1]) is gold
    if kind == "option":
        letters = _LETTER.findall(text)
        return bool(letters) and f"({letters[-1].lower()})" == gold
    if kind.startswith("list"):
        return False
    last = last_number(text)
    return last is not None and near(float(last), gold)


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """Two marks per item, metric "accuracy": filter "answer", and "lenient", which also takes the last value."""
    stop = task.generation.stop
    found = [
        find(output, _reads(item.record["Answer_type"]), stop) for item, output in zip(items, outputs, strict=True)
    ]
    wanted = [_wanted(item, answer) for item, answer in zip(items, found, strict=True)]
    replies = values(wanted)  # all in one process, with one budget for each output
    return [
        _marks(item, answer, readable(output, stop), texts, reply)
        for item, answer, output, texts, reply in zip(items, found, outputs, wanted, replies, strict=True)
    ]


def _wanted(item: Item, found: Found) -> list[str]:
    """The texts that math-verify has to read, before it is known whether the answer is right."""
    wanted: dict[str, None] = {}
    if found.text is not None:
        _right(item, found.text, lambda text: wanted.setdefault(text))
    return list(wanted)


def _marks(item: Item, found: Found, text: str, texts: Sequence[str], reply: Reply) -> list[Mark]:
    known: dict[str, Any] = dict(zip(texts, reply.value or [None] * len(texts), strict=True))
    right = found.text is not None and _right(item, found.text, known.get)
    return [
        Mark(
            filter=name,
            metric="accuracy",
            value=float(value),
            answered=found.text is not None,
            how=found.how,
            found=found.text or "",
            reason="" if value else reply.too_long,
            status="error" if reply.too_long and not value else None,
        )
        for name, value in ((ANSWER, right), (LENIENT, right or _last_is_right(item, text)))
    ]


THEOREMQA = Judge(judge)
