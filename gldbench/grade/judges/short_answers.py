"""Reading a short answer: an option, a word, a number, a list of words, brackets. BBH."""

from __future__ import annotations

import re

from gldbench.grade.answers import Reads, last_line, readable
from gldbench.grade.unwrap import first_sentence, is_refusal, unwrap, without_remark

_OPTION = re.compile(
    r"(?i:options?|choice|answer|letter)?\s*(?:\(\s*([A-Za-z])\s*\)|\[([A-Z])\]"
    r"|([A-Z])(?=\s*[).:]|\s*[-–—]{1,2}|\s*\Z|,?\s+(?:because|since|as|which|:)))"
)
_SEVERAL = re.compile(r"\([A-Z]\)\s*+(?:,|/|;|&|and\b|or\b)*+\s*+\([A-Z]\)|\b[A-Z]\s+(?:or|and)\s+[A-Z]\b")
_WORD = re.compile(
    r"(yes|no|true|false|valid|invalid|plausible|implausible)\b(?=\s*(?:[,.;:!(–—-]|because\b|since\b|as\b|\Z))",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"([-+]?\d[\d,]*(?:\.\d+)?)(?:\s+[A-Za-z][A-Za-z' -]*)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MARKS = re.compile(r"[\"“”‘’`*$]|\\(?:text|mathrm|textbf)\s*|(?<=[a-z])'(?=\s|$)")
_JUNK = re.compile(r"\W*(?:correct|right|wrong|as follows|given|below|above|clear|obvious)\W*", re.IGNORECASE)


def reads_short_answer(text: str) -> Reads:
    """An answer holds a letter, a digit or a bracket."""
    plain = unwrap(text)
    if is_refusal(plain):
        return "refusal"
    if _JUNK.fullmatch(plain) or plain.startswith("Let's think"):
        return ""
    return "answer" if re.search(r"\w|[\[\](){}<>]", plain) else ""


def readings(text: str) -> list[str]:
    """The normal forms of an answer, all of which mean the same: it is right where one of them is the gold's.

    "(B) the ball" reads as b, "No, she lies" as no, "8 musical instruments" as 8, "9 * 2 = 18" as 18.
    """
    found: list[str] = []
    several = _SEVERAL.search(text)
    line = text if text.strip().startswith(("$$", "\\[")) else text.partition("\n")[0]
    whole = unwrap(line)
    for part in dict.fromkeys((whole, unwrap(first_sentence(whole)), unwrap(without_remark(whole)))):
        plain = _MARKS.sub("", part).strip()
        option, word, number = _OPTION.match(plain), _WORD.match(plain), _NUMBER.fullmatch(_THOUSANDS.sub("", plain))
        if option and not several:
            found.append(next(group for group in option.groups() if group).lower())
        if word:
            found.append(word[1].lower())
        if number:
            found.append(re.sub(r"\.0+$", "", number[1]))
        if re.search(r"=\s*[-+]?[\d,.]+\s*\Z", plain):
            found.append(_THOUSANDS.sub("", plain.rpartition("=")[2].strip()))
        found.append(_words(plain))
    return [reading for reading in dict.fromkeys(found) if reading]


def _words(plain: str) -> str:
    """Lower case, one space between words, none between brackets."""
    words = re.sub(r"[,;]", " ", plain) if re.search(r"[A-Za-z]", plain) else plain
    parts = words.lower().rstrip(".").split()
    return " ".join(parts) if re.search(r"\w", words) else "".join(parts)


def last_readings(output: str) -> list[str]:
    """The readings of the last line, and the last option in brackets: the most lenient rules."""
    text = readable(output)
    options = re.findall(r"\(([A-Z])\)", text)
    return readings(last_line(text)) + [letter.lower() for letter in options[-1:]]
