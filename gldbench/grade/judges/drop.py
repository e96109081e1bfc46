"""DROP: exact match and F1 of the answer line, by the rules of the official script and the exceptions stated here.

The rules (Dua et al., 2019): a span is a bag of words without case, punctuation and articles; numbers are compared by
value; bags of the answer and of the gold are assigned one to one for the highest F1, where two bags score only if the
gold's has no number or both have one in common; the mean counts every span that has no partner as 0; the best of the
accepted answers counts. Unlike the official script:

- Our data file joins the spans of an answer with " and ", and so do models. Both sides are split at it, and once more
  at commas and semicolons; the better of the two readings counts. "Bosnia and Herzegovina" is split on both sides.
- "$23.6", "(13.5)", "13.5." and "1,234.5" are numbers (there their point is lost as punctuation).
- Numbers are compared digit by digit, without the rounding of floats.
- Typographic dashes and quotes are ASCII ones; the parts of a date may stand in any order.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.optimize import linear_sum_assignment

from gldbench.grade.judges.judge import Judge, Mark
from gldbench.schema import Item, Task

FILTER = "answer"

_ANSWER_LINE = re.compile(r"(?i)\banswer\**[ \t]*:[ \t*]*+(?:\n[ \t]*+)?(?!\$ANSWER\b)(\S[^\n]*)")
_ANSWER_PHRASE = re.compile(r"(?i)\banswer is:?[ \t]+(\S[^\n]*)")
_SENTENCE_END = re.compile(r"(?:(?<=[\d)\"'*])|(?<=[a-z]{3}))\.\s+(?=[A-Z])")
_LATEX = re.compile(r"\\(?:boxed|text(?:bf|it|rm)?|math(?:bf|rm)|mbox)\s*\{([^{}]*)\}")
_ASCII = str.maketrans({"–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-", "“": '"', "”": '"', "‘": "'", "’": "'"})
_EDGES = string.punctuation.replace(".", "") + "£€°"
_ENDS = _EDGES + "."
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"([0-9]*)(?:\.([0-9]*))?")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = frozenset({"a", "an", "the"})
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = {short: month for month in _MONTHS for short in (month, month[:3])} | {"sept": "september"}
_ORDINAL = re.compile(r"^(\d+)(?:st|nd|rd|th)$")
_JOINTS = (re.compile(r"(?i)\s+and\s+"), re.compile(r"(?i)\s*(?:,?\s+and\s+|,\s+|;\s*)"))
"""what separates the spans of an answer: one expression for each of the two readings"""


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """Marks "f1" and "em" of each output against the best of the item's golds."""
    return [_marks(item, extract(output)) for item, output in zip(items, outputs, strict=True)]


def _marks(item: Item, answer: str | None) -> list[Mark]:
    em, f1 = (0.0, 0.0) if answer is None else score(answer, item.golds or (item.target,))
    return [Mark(FILTER, name, value, answer is not None) for name, value in (("f1", f1), ("em", em))]


def extract(output: str) -> str | None:
    """The answer of the last line "Answer: ..."; else after the last "answer is"; else an output of one line.

    The prompt's own "Answer: $ANSWER" is no answer. None where what is found has no letter or digit.
    """
    text = output.translate(_ASCII)
    lines = [line for line in text.splitlines() if line.strip()]
    alone = lines if len(lines) == 1 and "$ANSWER" not in text else []
    found = _ANSWER_LINE.findall(text) or _ANSWER_PHRASE.findall(text) or alone
    if not found:
        return None
    answer = found[-1]
    for _ in range(3):  # \boxed{\text{...}}; a bound, because an output may nest a million
        answer = _LATEX.sub(r"\1", answer)
    return answer if re.search(r"\w", answer) else None


def score(answer: str, golds: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1) against the best accepted answer; F1 with two digits, as the official script rounds it.

    An answer of several sentences is read as a whole and up to the end of its first; the better counts.
    """
    best_em = best_f1 = 0.0
    answer = answer.translate(_ASCII)
    for text, joint in product({answer, _SENTENCE_END.split(answer, maxsplit=1)[0]}, _JOINTS):
        spans = _spans(text, joint)
        for gold in golds:
            if gold.strip():
                em, f1 = _compare(spans, _spans(gold.translate(_ASCII), joint))
                best_em, best_f1 = max(best_em, em), max(best_f1, f1)
    return best_em, best_f1


def _spans(text: str, joint: re.Pattern[str]) -> list[tuple[str, ...]]:
    """The words of each span in `text`; never empty."""
    spans = [tuple(_words(span)) for span in joint.split(text.strip())]
    return [span for span in spans if span] or [()]


def _words(span: str) -> list[str]:
    """Lower case, no articles, no punctuation, numbers in one form, dates in one order."""
    words = [_word(token) for token in re.split(r"[\s-]+", span.lower())]
    words = [word for word in words if word and word not in _ARTICLES]
    date = [_ORDINAL.sub(r"\1", _MONTH.get(word, word)) for word in words]
    months = sum(word in _MONTHS for word in date)
    return sorted(date) if months == 1 < len(date) and all(w in _MONTHS or w.isdigit() for w in date) else words


def _word(token: str) -> str:
    """A number without idle zeros, or the token without punctuation."""
    bare = _THOUSANDS.sub("", token.lstrip(_EDGES).rstrip(_ENDS))
    number = _NUMBER.fullmatch(bare)
    if number is None or not bare:
        return token.translate(_PUNCTUATION)
    whole, fraction = number[1].lstrip("0") or "0", (number[2] or "").rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _compare(answer: list[tuple[str, ...]], gold: list[tuple[str, ...]]) -> tuple[float, float]:
    """(exact match, F1) of the spans of one reading."""
    table = np.array([[_f1(frozenset(mine), frozenset(wanted)) for mine in answer] for wanted in gold])
    rows, columns = linear_sum_assignment(table, maximize=True)
    f1 = float(table[rows, columns].sum()) / max(table.shape)
    return float(sorted(answer) == sorted(gold)), round(f1, 2)


def _f1(answer: frozenset[str], gold: frozenset[str]) -> float:
    """F1 of two bags of words; 0 where the gold has numbers and the answer none of them."""
    common = answer & gold
    numbers = {word for word in gold if _NUMBER.fullmatch(word)}
    if not common or (numbers and not numbers & common):
        return float(answer == gold)
    return 2 * len(common) / (len(answer) + len(gold))


DROP = Judge("Dua et al., 2019, DROP, arXiv:1903.00161, and its official evaluation script", judge)
