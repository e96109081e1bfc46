"""The places of an output that say "this is the answer": boxes, cues, tags, JSON fields."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from gldbench.grade.unwrap import balanced

How = Literal["boxed", "cue", "next_line", "json", "tag", "bare", "last_line", "fence", "none"]
"""How an answer was found. "bare": the output is nothing but the answer, or begins with it."""


class Statement(NamedTuple):
    """A place of a text that says what the answer is."""

    place: int
    text: str
    how: How


_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:(\{)|([^\s{}$\\]+))")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_TAG = re.compile(r"<(answer|final_answer|final|ans)>|\[ANSWER\]", re.IGNORECASE)
_FIELD = re.compile(
    r"""["'](?:final[_ ]?)?answer["']\s*:\s*"""
    r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\[[^\[\]\n]*\]|[^\s,}\]][^,}\n]*)""",
    re.IGNORECASE,
)
_WORD = r"answers?|(?:correct|right|best)[ \t]+(?:option|choice|ending|statement|letter)"
_BE = (
    r"(?:\b(?:is|are|was|becomes|equals?)\b|\bcomes? (?:out )?to(?: be)?\b|\bturns? out to be\b"
    r"|\b(?:would|should|must|will|has to|have to|can|could|may|might|ought to|needs? to)"
    r"(?:[ \t]+(?:only|then|therefore|thus|also))?[ \t]+be\b)"
)
_QUALIFIER = (
    r"(?:[ \t]*\([^()\n]{0,60}\))?"
    r"(?:[ \t]+(?:choice|option|letter|number|value))?"
    r"(?:[ \t]+(?:to|for|of|in|here|as|that|which|among|from|we|based|given|rounded|expressed|with|using|after|by)\b"
    r"[^.:\n=]{0,120}?)?"
)
_CUE = re.compile(
    rf"(?<!\w)(?:{_WORD})\b{_QUALIFIER}[ \t]*(?:{_BE}[ \t]*:?|:|=(?!=)|→|[–—-][ \t]"
    r"|(?=can ?not\b|can't\b|could not\b))|####"
    r"|(?<!\w)(?:ответ|答案|antwort|respuesta|réponse|risposta|resposta|cevap)[ \t]*(?:[:：]|是[:：]?)",
    re.IGNORECASE,
)
_CALL = re.compile(r"""\b[Aa]nswer\(\s*["'“]?([^"'”()\n]{1,200})["'”]?\s*\)""")
_HEADING = re.compile(
    r"^[ \t>#*_]*(?:\d+[.)][ \t]*)?(?:(?:the|my|so|final|correct|short|therefore|thus|hence)[ \t,]*){0,4}"
    r"(?:answer|result)s?[ \t:*_#]*$",
    re.IGNORECASE | re.MULTILINE,
)
_LINE_A = re.compile(r"^[ \t]*A[ \t]*:[ \t]*(?=\S)", re.MULTILINE)
_CONDITION = re.compile(
    r"\b(?:if|whether|unless|suppose|assuming|assume|check|verify|ensure|sure|when|until|see)\b"
    r"(?:[ \t]+(?:that|if|whether))?[ \t]+(?:(?:the|my|our|your|this|final|correct|right|an)[ \t]+)*$",
    re.IGNORECASE,
)
"""in front of a cue: what follows is a condition, not a statement"""
_EMPTY = re.compile(
    r"[\s:*_#`~\-–—]*(?:\$\$?|\\\[|\\\(|```\w*|as follows|below|given by|the following|thus|therefore)?[\s:.,*_`]*"
)
_BEFORE_NEXT = re.compile(r"\s*(?:(?:\$\$|\\\[|\\\(|```\w*|:|[-*•](?=[ \t]))[ \t]*\n?\s*)*")
_FILLING = re.compile(
    r"(?:[ \t]*(?:[:：=→]|,(?=[ \t]))|[ \t]*\b(?:clearly|therefore|thus|definitely|certainly|surely|most likely|"
    r"likely|probably|indeed|simply|actually|hence|then|obviously|just|also|again|still|now|to be)\b"
    r"(?:[ \t]+to[ \t]+be\b)?,?)*"
    r"[ \t]*",
    re.IGNORECASE,
)
LONGEST_ANSWER = 2_000
"""characters of a statement that are read as an answer: a line, a formula over several lines, the content of a box"""
MOST_STATEMENTS = 200
"""places of each kind (cues, boxes, tags, fields) that are looked at, the last ones of the text"""


def statements(text: str, cue_a: bool, more: Callable[[str], list[Statement]] | None = None) -> list[Statement]:
    """Every statement of an answer in a text without emphasis, in the order of the places of what they mark.

    Args:
        text: as `unwrap.without_emphasis` gives it.
        cue_a: whether "A:" at the beginning of a line is a cue.
        more: further statements that a kind of answer knows, such as "C is correct".
    """
    found: list[Statement] = more(text) if more else []
    found += [Statement(place, content, "boxed") for place, content in boxes(text)]
    found += _tags(text)
    found += [Statement(match.start(), _literal(match[1]), "json") for match in last_places(_FIELD, text)]
    found += [Statement(match.start(), match[1].strip(), "cue") for match in last_places(_CALL, text)]
    for match in _cues(text, cue_a):
        found += after(text, match.end())
    found = sorted((said for said in found if said.text), key=lambda said: (said.place, said.how == "boxed"))
    return [said._replace(text=said.text[:LONGEST_ANSWER]) for said in found[-MOST_STATEMENTS:]]


def last_places(pattern: re.Pattern[str], text: str) -> deque[re.Match[str]]:
    """The last matches of a pattern, at most `MOST_STATEMENTS`."""
    return deque(pattern.finditer(text), MOST_STATEMENTS)


def _tags(text: str) -> Iterator[Statement]:
    """What stands in <answer>...</answer> and its like. A tag that is not closed lasts until the end of the text."""
    for match in last_places(_TAG, text):
        closing = re.compile(rf"</{match[1]}>" if match[1] else r"\[/ANSWER\]", re.IGNORECASE)
        limit = match.end() + LONGEST_ANSWER
        end = closing.search(text, match.end(), limit)
        if end or limit >= len(text):
            yield Statement(match.start(), text[match.end() : end.start() if end else limit].strip(), "tag")


def has_cue(text: str) -> bool:
    """Whether the text announces an answer, even where none follows."""
    return bool(_CUE.search(text) or _HEADING.search(text))


def _cues(text: str, cue_a: bool) -> Iterator[re.Match[str]]:
    for match in last_places(_CUE, text):
        if not _CONDITION.search(text[max(0, match.start() - 60) : match.start()].rpartition("\n")[2]):
            yield match
    yield from last_places(_HEADING, text)
    if cue_a:
        yield from last_places(_LINE_A, text)


def after(text: str, place: int) -> Iterator[Statement]:
    """What stands after a cue: the rest of its line or, where that is empty, the next line that is not.

    A formula that the end of the output cuts off is no answer.
    """
    filling = _FILLING.match(text, place)
    place = filling.end() if filling else place
    line = _line(text, place)
    how: How = "cue"
    if _EMPTY.fullmatch(line):
        following = _BEFORE_NEXT.match(text, place + len(line))
        place, how = (following.end() if following else len(text)), "next_line"
        line = _line(text, place)
    closing = _open_formula(line)
    end = text.find(closing, place + len(line), place + LONGEST_ANSWER) if closing else -1
    if end >= 0:
        line = text[place : end + len(closing)]
    cut_off = "\\" in line and place + len(line) >= len(text.rstrip()) and not balanced(line)
    if line.strip() and not cut_off:
        yield Statement(place, line.strip(), how)


def _line(text: str, place: int) -> str:
    """The rest of the line from `place` on, as far as an answer is read."""
    end = text.find("\n", place, place + LONGEST_ANSWER)
    return text[place : end if end >= 0 else place + LONGEST_ANSWER]


def _open_formula(line: str) -> str:
    """What closes the formula that a line leaves open, or ""."""
    environments = re.findall(r"\\begin\{(\w+\*?)\}", line)
    if environments and f"\\end{{{environments[-1]}}}" not in line:
        return f"\\end{{{environments[-1]}}}"
    if line.count("$$") % 2:
        return "$$"
    return "\\]" if line.count("\\[") > line.count("\\]") else ""


def boxes(text: str) -> list[tuple[int, str]]:
    """(place, content) of the last complete boxes that hold something, braces balanced.

    Of a content that is longer than an answer only the beginning is given.
    """
    closing: dict[int, int] = {}
    opened: list[int] = []
    for token in _BRACES.finditer(text):
        if token[0] == "{":
            opened.append(token.start())
        elif token[0] == "}" and opened:
            closing[opened.pop()] = token.start()
    found = []
    for box in last_places(_BOX, text):
        end = closing.get(box.start(1), 0) if box[1] else 0
        content = box[2] or text[box.end() : min(end, box.end() + LONGEST_ANSWER)]
        if content.strip():
            found.append((box.start(), content.strip()[:LONGEST_ANSWER]))
    return found


def document(text: str) -> str | None:
    """The field "answer" of an output that is one JSON object, in a code fence or not. None for any other output."""
    body = text.strip()
    if body.startswith("```") and body.endswith("```") and len(body) > 6:
        body = re.sub(r"\Ajson(?=[\s{])", "", body[3:-3], flags=re.IGNORECASE).strip()
    if not (body.startswith("{") and body.endswith("}")):
        return None
    try:
        fields = json.loads(body)
        for name, value in reversed(fields.items()):
            if re.fullmatch(r"(?:final[_ ]?)?answer", name, re.IGNORECASE):
                return _text(value)[:LONGEST_ANSWER]
    except (ValueError, RecursionError):
        return None
    return None


def _literal(written: str) -> str:
    """A JSON value as text, without quotes and escapes."""
    try:
        return _text(json.loads(written))
    except (ValueError, RecursionError):
        return written.strip().strip("\"'")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
