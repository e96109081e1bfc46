"""The judge of MATH and MATH-500: the answer must equal the gold answer, as text or as mathematics.

Units, degrees, dollars and percent signs are optional: 25\\% equals 25 and 0.25. Words ("even", "Friday", (B)) and
numbers in a base are compared as text, decimals exactly, and everything else by math-verify. Two numbers that
math-verify has to evaluate are equal where they agree to six significant digits: 0.333333 equals 1/3, as in
math-verify, but 1/2004! does not equal 1/2006!, because the comparison is relative.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gldbench.grade.answers import Found, Reads, find, last_line, readable
from gldbench.grade.cues import LONGEST_ANSWER, boxes
from gldbench.grade.judges.equivalence import Reply, equivalent
from gldbench.grade.judges.judge import ANSWER, LENIENT, Judge, Mark
from gldbench.grade.judges.latex import decided, pairs_of, spelled
from gldbench.grade.unwrap import first_sentence, is_refusal, unwrap, without_emphasis, without_remark
from gldbench.schema import Item, Task

_JUNK = re.compile(
    r"\W*(?:(?:indeed|therefore|thus|also|still|not|very|a|an|the|in|this|our)\W+)*"
    r"(?:correct|right|wrong|incorrect|reasonable|as follows|given|below|above|clear|obvious|valid|invalid|consistent|"
    r"unique|simple|form|simplest form|positive|negative|integer|same|required|desired|expected)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_PROSE = re.compile(r"[A-Za-z][A-Za-z ,'.-]+")
_FEW_WORDS = 4
"""words of the longest answer that is prose"""
_SIGNS = re.compile(r"\d|\\[a-zA-Z]|[=^_+]")
_OPTION = re.compile(r"\A\(?\s*(?:\\text\{)?\s*\(?([A-E])[).:]\}?\s*(?=\S)")
_CALCULATION = re.compile(r"\d\s*[-+*/×·]|\\(?:times|cdot|div|frac)")
_CLAUSE = re.compile(r"\b(?:is|equals?|are|be)\s+(?:equal to\s+|approximately\s+)?(\S.*)\Z", re.DOTALL)
_FORMULA = re.compile(r"\$\$?([^$]{1,300})\$\$?|\\\((.{1,300}?)\\\)|\\\[(.{1,300}?)\\\]", re.DOTALL)
_CONCLUSION = re.compile(
    r"(?:So|Therefore|Thus|Hence|Finally|Consequently|In conclusion)\b.*"
    r"(?:\b(?:is|are|equals?|get)\s+|[^<>\\]=\s*)(\S.*)\Z"
)
_CLOSING = re.compile(r"(?:\$+|\\[)\]])?\.?\s*\Z")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_LAST_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")


def _reads(output: str) -> Callable[[str], Reads]:
    """How a text is read: words without any sign of mathematics count only where the output has no box."""
    boxed = {content for _, content in boxes(without_emphasis(readable(output)))}

    def reads(text: str) -> Reads:
        plain = unwrap(text)
        if _SIGNS.search(plain):
            return "answer"
        if is_refusal(plain):
            return "refusal"
        if not plain or _JUNK.fullmatch(plain):
            return ""
        words = _PROSE.fullmatch(plain) and (len(plain.split()) > _FEW_WORDS or (boxed and text not in boxed))
        return "" if words or not re.search(r"\w", plain.replace("_", "")) else "answer"

    return reads


def readings(text: str) -> list[str]:
    """Ways to read an answer, all of which mean the same.

    As it is, its first sentence, without a remark in parentheses, an option's letter and text, the result of a
    calculation, what a clause says: "the area is 12".
    """
    whole = unwrap(text)
    sentence = unwrap(first_sentence(whole))
    found = [whole, sentence, unwrap(without_remark(whole)), unwrap(without_remark(sentence))]
    for part in list(found):
        option = _OPTION.match(part)
        found += [option[1], unwrap(part[option.end() :])] if option else []
    before, equals, after = sentence.rpartition("=")
    found += [unwrap(after)] if equals and _CALCULATION.search(before) else []
    clause = _CLAUSE.search(sentence)
    found += [unwrap(clause[1])] if clause and not sentence.startswith("\\") else []
    return [part for part in dict.fromkeys(found) if part]


@dataclass(frozen=True)
class _Case:
    """What texts decide about an answer, and what math-verify has to be asked."""

    right: bool
    pairs: list[tuple[str, str]]


def _case(gold: str, texts: Sequence[str]) -> _Case:
    gold, pairs = spelled(gold), []
    for text in dict.fromkeys(spelled(text) for text in texts):
        verdict = decided(gold, text) if text else False
        if verdict:
            return _Case(True, [])
        pairs += pairs_of(gold, text) if verdict is None else []
    return _Case(False, list(dict.fromkeys(pairs)))


def _last_values(text: str) -> list[str]:
    """The last formula and the last number of an output: the most lenient rules."""
    formulas = [next(group for group in match.groups() if group) for match in _FORMULA.finditer(text)]
    values = [content for _, content in boxes(text)[-1:]] + formulas[-1:] + _LAST_NUMBER.findall(text)[-1:]
    return [value[:LONGEST_ANSWER] for value in values]


def _answer(output: str, stop: Sequence[str]) -> Found:
    """What `find` finds, or else what the last sentence concludes: "Therefore, the area is 12." """
    reads = _reads(output)
    found = find(output, reads, stop)
    if found.text is not None or found.refused:
        return found
    concluded = _CONCLUSION.match(_SENTENCE.split(last_line(readable(output, stop)))[-1])
    if concluded is None:
        return found
    said = concluded[1] if concluded[1].startswith(("$", "\\(", "\\[")) else _CLOSING.sub("", concluded[1])
    return Found(said, "last_line") if reads(said) == "answer" else found


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """Two marks per item, metric "accuracy": filter "answer", and "lenient", which also takes the last value."""
    stop = task.generation.stop
    found = [_answer(output, stop) for output in outputs]
    cases = [
        _case(item.target, readings(answer.text) if answer.text is not None else [])
        for item, answer in zip(items, found, strict=True)
    ]
    loose = [
        _case(
            item.target,
            [reading for value in _last_values(readable(output, stop)) for reading in readings(value)],
        )
        for item, output in zip(items, outputs, strict=True)
    ]
    replies = equivalent([case.pairs for case in (*cases, *loose)])
    right = [case.right or bool(reply.value) for case, reply in zip((*cases, *loose), replies, strict=True)]
    rows = len(items)
    return [_marks(found[row], right[row], right[row] or right[rows + row], replies[row]) for row in range(rows)]


def _marks(found: Found, right: bool, loose: bool, reply: Reply) -> list[Mark]:
    return [
        Mark(
            filter=name,
            metric="accuracy",
            value=float(value),
            answered=found.text is not None,
            reason="" if value else reply.too_long or (f"equivalence: {reply.reason}" if reply.reason else ""),
            status="error" if reply.too_long and not value else None,
            how=found.how,
            found=found.text or "",
        )
        for name, value in ((ANSWER, right), (LENIENT, loose))
    ]


MATH = Judge(judge)
