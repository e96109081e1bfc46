"""DROP: exact match and F1 of the answer line, by the rules of the official script with the exceptions below.

The rules (Dua et al., 2019, DROP, arXiv:1903.00161, and its official evaluation script):

- An answer consists of spans. A span is a bag of words without case, punctuation and articles. Numbers are compared by
  value.
- The bags of the answer and of the gold answer are assigned one to one so that the sum of their F1 is highest. Two bags
  score only where the gold bag has no number, or where both have a number in common.
- The F1 of an answer is the mean over its spans. A span without a partner counts as 0.
- Where several gold answers are accepted, the best one counts.

The exceptions:

- Our data file joins the spans of an answer with " and ", and so do models. Both sides are split at " and ". In a
  second reading both are split at commas and semicolons too. The better reading counts. "Bosnia and Herzegovina" is
  split on both sides.
- "$23.6", "(13.5)", "13.5." and "1,234.5" are numbers. The official script removes their point as punctuation.
- Numbers are compared digit by digit, without rounding to floats.
- Typographic dashes and quotes equal those of ASCII. The parts of a date may come in any order.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.optimize import linear_sum_assignment

from gldbench.grade.answers import Found, Reads, find, last_line, readable
from gldbench.grade.cues import LONGEST_ANSWER, Statement, last_places
from gldbench.grade.judges.judge import ANSWER, LENIENT, Judge, Mark
from gldbench.grade.unwrap import unwrap, without_remark
from gldbench.schema import Item, Task

_SENTENCE_END = re.compile(r"(?:(?<=[\d)\"'*])|(?<=[^\W\d_]{3})|(?<=[A-Z]{2})|(?<=\.[A-Z]))\.\s+(?=[A-Z])")
_BULLETS = re.compile(
    r"^[^\n]{0,200}\banswers?\b[^\n]{0,100}\n(?:[ \t]*\n)?((?:[ \t]*[-*•][ \t]+\S[^\n]*(?:\n|\Z)){2,})", re.I | re.M
)
"""a line with the word "answer", and the list below it"""
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
"""what separates the spans of an answer, in the first and in the second reading"""


def _reads(text: str) -> Reads:
    """An answer has a letter or a digit."""
    return "answer" if re.search(r"\w", unwrap(text)) else ""


def _lists(text: str) -> list[Statement]:
    """The spans of an answer that is a list with bullets."""
    found = []
    for match in last_places(_BULLETS, text):
        spans = [line.strip().lstrip("-*•").strip() for line in match[1].split("\n") if line.strip()]
        place = match.start(1) + len(match[1])  # after the place of its first line alone
        found.append(Statement(place, " and ".join(spans), "next_line"))
    return found


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """Four marks per item, metrics "f1" and "em": filter "answer", and "lenient", which also takes the last line."""
    stop = task.generation.stop
    return [
        _marks(item, find(output, _reads, stop, more=_lists, longest_bare=LONGEST_ANSWER), readable(output, stop))
        for item, output in zip(items, outputs, strict=True)
    ]


def _marks(item: Item, found: Found, text: str) -> list[Mark]:
    golds = item.golds or (item.target,)
    em, f1 = _best(found.text, golds)
    last_em, last_f1 = _best(last_line(text), golds)
    values = (
        (ANSWER, "f1", f1),
        (ANSWER, "em", em),
        (LENIENT, "f1", max(f1, last_f1)),
        (LENIENT, "em", max(em, last_em)),
    )
    return [
        Mark(
            filter=name,
            metric=metric,
            value=value,
            answered=found.text is not None,
            how=found.how,
            found=found.text or "",
        )
        for name, metric, value in values
    ]


def _best(text: str | None, golds: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1) of an answer with and without a remark in parentheses at its end; the better counts."""
    if text is None:
        return 0.0, 0.0
    whole = unwrap(text)
    scores = [score(reading, golds) for reading in dict.fromkeys((whole, unwrap(without_remark(whole)))) if reading]
    return max((em for em, _ in scores), default=0.0), max((f1 for _, f1 in scores), default=0.0)


def score(answer: str, golds: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1) against the best of the gold answers. F1 is rounded to two digits, as in the official script.

    An answer of several sentences is read twice: as a whole, and only its first sentence. The better reading counts.
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
    """The words of each span in the text. There is always at least one span, which may be empty."""
    spans = [tuple(_words(span)) for span in joint.split(text.strip())]
    return [span for span in spans if span] or [()]


def _words(span: str) -> list[str]:
    """The words of a span in lower case, without articles and punctuation, with one form of numbers and of dates."""
    words = [_word(token) for token in re.split(r"[\s-]+", span.lower())]
    words = [word for word in words if word and word not in _ARTICLES]
    date = [_ORDINAL.sub(r"\1", _MONTH.get(word, word)) for word in words]
    months = sum(word in _MONTHS for word in date)
    return sorted(date) if months == 1 < len(date) and all(w in _MONTHS or w.isdigit() for w in date) else words


def _word(token: str) -> str:
    """A number without superfluous zeros; any other token without punctuation."""
    bare = _THOUSANDS.sub("", token.lstrip(_EDGES).rstrip(_ENDS))
    number = _NUMBER.fullmatch(bare)
    if number is None or not bare:
        return token.translate(_PUNCTUATION)
    whole, fraction = number[1].lstrip("0") or "0", (number[2] or "").rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _compare(answer: list[tuple[str, ...]], gold: list[tuple[str, ...]]) -> tuple[float, float]:
    """(exact match, F1) of the spans in one reading."""
    table = np.array([[_f1(frozenset(mine), frozenset(wanted)) for mine in answer] for wanted in gold])
    rows, columns = linear_sum_assignment(table, maximize=True)
    f1 = float(table[rows, columns].sum()) / max(table.shape)
    return float(sorted(answer) == sorted(gold)), round(f1, 2)


def _f1(answer: frozenset[str], gold: frozenset[str]) -> float:
    """F1 of two bags of words. 0 where the gold bag has numbers and the answer has none of them."""
    common = answer & gold
    numbers = {word for word in gold if _NUMBER.fullmatch(word)}
    if not common or (numbers and not numbers & common):
        return float(answer == gold)
    return 2 * len(common) / (len(answer) + len(gold))


DROP = Judge(judge)
