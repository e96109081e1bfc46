"""The judge of lettered options: ARC, HellaSwag, MMLU.

What an output says is read in this order; the first that says something decides:

1. the whole output is the text of one option;
2. the last statement: "the answer is C", "Answer: C", a box, "option C is correct", an option's text after
   "the answer is"; a statement of two letters says that there is no answer;
3. the letter that the output begins with, as the prompts of ARC and HellaSwag ask for;
4. the last letter in brackets, quotes or emphasis, or alone on its line;
5. the first or the last line is the text of one option.

A letter that opens prose ("A man went home"), a list of letters and a walk through all options are no answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gldbench.grade.judges.judge import Judge, Mark
from gldbench.schema import Item, Task

_QUOTE = r"[*_`$\"'“”‘’]"
_WRAPPER = re.compile(r"\\(?:text(?:bf|it|rm|tt)?|math(?:bf|rm|it)|mbox)\s*\{([^{}]*)\}")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}")
_QUOTED = re.compile(rf"(?<!\w){_QUOTE}{{1,4}}[(\[]?([A-Ea-e])[)\].:]{{0,2}}{_QUOTE}{{1,4}}(?!\w)")  # **B**, 'B'
_OPENED = re.compile(rf"(?<!\w){_QUOTE}{{1,4}}[(\[]?([A-E])[)\].:]{{1,2}}(?=\s)")  # **B. the text**

_BECAUSE = r"because|since|as|due|for|given|which|but|so|and|or|is|not"
_MARKED = r"[(\[]\s*([A-Ea-e])\s*[)\]]"
_ENDED = rf"([A-E])(?=\s*(?:[.):,;!?}}\]/|&\n]|$)|\s+(?:{_BECAUSE})\b|\s+[-–—(])"
_LABEL = re.compile(rf"{_MARKED}|{_ENDED}|([B-E])(?=\s)|([a-e])(?=\s*[.):]?\s*(?:\n|$))")
_FIRST = re.compile(
    rf"\W{{0,20}}?(?:{_MARKED}|([a-e])(?=\W{{0,20}}$)"
    r"|([A-E])(?=[.):,;]|\s*(?:\n|$)|\s+(?:because|since|due)\b|\s+[-–—]\s))"
)
_VERB = r"\s+(?:is|was|does|would|has|can|could|isn|doesn|can't)\b"
_SECOND = re.compile(rf"[ \t]*(?:(?:,|/|;|&|\||\band\b|\bor\b)[ \t]*)+(?:option\s+)?(?:{_MARKED}|{_ENDED})(?!{_VERB})")
_RUN = re.compile(r"(?:\s+[A-E]){2,}(?!\w)")
_DISMISSED = re.compile(r"[^.\n]{0,40}?(?:\b(?:not|wrong|incorrect|false|ruled out|eliminated?)\b|n't\b)")

_SAID_WRONG = re.compile(rf"\s+(?:is|are|was|would|does|can)\b{_DISMISSED.pattern}")

_FILL = (
    "clearly|therefore|thus|definitely|most|likely|probably|indeed|simply|actually|hence|then|option|choice|letter|"
    "answer|ending|statement|the|that of"
)
_CUE = re.compile(
    r"\b(?i:(?:answers?|choice|option|ending)\b(?:[ \t]+(?:choice|option|letter))?"
    r"(?:[ \t]+(?:to|for|of|here|in|among|that|which)\b[^.:\n]{0,100}?)?"
    r"(?:\s*[:=→]|[ \t]+(?:would |should |must |will |has to |can only )?(?:therefore |then |thus )?(?:is|was|be)\b"
    r"|[ \t]+[-–—][ \t]|[ \t]*\n)"
    r"|(?:choose|chose|pick|select|go(?:ing)? with|opt for)\b)"
    rf"(?P<filling>(?:\s*[:=]|\s+(?i:{_FILL})\b)*)\s*"
)
_CORRECT = re.compile(
    r"(?<!nor )(?<!neither )(?<![\w'’])[(\[]?([A-E])[)\].:]*\s+(?:makes (?:the )?most sense"
    r"|(?:is|seems|must be|would be)(?:\s+(?!not\b|never\b|less\b|neither\b)\w+){0,3}?"
    r"\s+(?:correct|right|best|answer)\b)"
)
_LIST = re.compile(rf"{_MARKED}(?:[ \t]*(?:,|/|;|&|\band\b|\bor\b)*[ \t]*(?:(?:and|or)[ \t]+)?{_MARKED})+")
_OPTION_LINE = re.compile(r"\W{0,6}([A-E])(?:[.):\]].*)?\s*")


def chosen(output: str, choices: Sequence[str] = ()) -> str | None:
    """The letter that `output` settles on, "A" to "E"; None where there is none.

    Args:
        output: what a model wrote.
        choices: the options' texts in the order of their letters; without them only letters are read.
    """
    text = output.rpartition("</think>")[2]
    whole = _option(text, choices)
    if whole:
        return whole
    plain = _plain(text)
    stated = _stated(plain, choices)
    if stated is not None:
        return stated or None
    return _first(plain, choices) or _last(plain) or _named(plain, choices)


def _plain(text: str) -> str:
    """Boxes as statements, letters in quotes or emphasis as (C), no other emphasis, no walk through the options."""
    text = _WRAPPER.sub(r"\1", text)
    text = _BOX.sub(lambda match: f"\nAnswer: {match[1].strip()}\n", text)
    text = _OPENED.sub(r"(\1)", _QUOTED.sub(r"(\1)", text))
    return _without_walk(re.sub(r"[*`$#\"“”]|__", "", text)).strip()


def _without_walk(text: str) -> str:
    """Without blocks of lines that begin with A, B, C in turn: the question's options again, or each one discussed."""
    kept: list[str] = []
    block: list[str] = []
    for line in [*text.split("\n"), ""]:
        found = _OPTION_LINE.fullmatch(line)
        if found and ord(found[1]) - ord("A") == len(block):
            block.append(line)
            continue
        kept += block if len(block) < 3 else []
        block = [line] if found and found[1] == "A" else []
        kept += [] if block else [line]
    return "\n".join(kept + block)


def _letter(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()


def _several(text: str, end: int) -> bool:
    """The letter that ends at `end` is the first of several: "A or B"."""
    return bool(_SECOND.match(text, end) or _RUN.match(text, end))


def _stated(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the last statement; "" where it names several, None where there is no statement."""
    found: list[tuple[int, str]] = []
    for cue in _CUE.finditer(text):
        label = _LABEL.match(text, cue.end())
        line = text[cue.start("filling") : cue.end() + 2_000].lstrip(" \t\n:=").partition("\n")[0]
        by_text = _opening(line, choices)
        if by_text and not (label and len(line.strip(" .")) == 1):
            found.append((cue.end(), by_text))
        elif label:
            found.append((cue.end(), "" if _several(text, label.end()) else _letter(label)))
    found += [(match.start(), match[1]) for match in _CORRECT.finditer(text)]
    return max(found)[1] if found else None


def _first(text: str, choices: Sequence[str]) -> str | None:
    """The letter that the text begins with, unless prose or another letter follows."""
    match = _FIRST.match(text)
    if match is None or _several(text, match.end()):
        return None
    rest = text[match.end() : match.end() + 2_000]
    ended = re.match(r"\s*(?:$|\n|[.,:;!]|[-–—]|(?:because|since|due)\b)", rest) and not rest.startswith(")")
    if ended or _opening(rest.lstrip(").: ").partition("\n")[0], choices) == _letter(match):
        return None if _DISMISSED.match(rest.partition("\n")[0]) and not ended else _letter(match)
    return None


def _last(text: str) -> str | None:
    """The last letter in brackets or alone on its line that is neither in a list nor called wrong."""
    text = _LIST.sub(" ", text)
    marks = rf"(?<!\w){_MARKED}|^\W{{0,6}}([A-E])\W{{0,6}}$"
    kept = [match for match in re.finditer(marks, text, re.MULTILINE) if not _SAID_WRONG.match(text, match.end())]
    return _letter(kept[-1]) if kept else None


def _named(text: str, choices: Sequence[str]) -> str | None:
    """The option whose text is the first or the last line."""
    lines = [line for line in text.split("\n") if line.strip()]
    return (_option(lines[0], choices) or _option(lines[-1], choices)) if lines else None


def _bare(text: str) -> str:
    """For comparing texts of options: case, spaces, quotes, emphasis and the punctuation at the ends are nothing."""
    return " ".join(re.sub(r"[*_`$\"“”]", "", text).casefold().split()).strip(" .,;:!?")


def _option(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the only option with this very text."""
    if len(text) > 2_000:
        return None
    same = [place for place, choice in enumerate(choices) if _bare(choice) and _bare(choice) == _bare(text)]
    return chr(ord("A") + same[0]) if len(same) == 1 else None


def _opening(line: str, choices: Sequence[str]) -> str | None:
    """The letter of the longest option whose text the line begins with, up to a mark of punctuation or the end."""
    line, best = _bare(line[:2_000]), ("", "")
    for place, choice in enumerate(choices):
        text = _bare(choice)
        ends = line == text or (line.startswith(text) and line[len(text) : len(text) + 2].strip() in tuple(".,;:!?)("))
        if ends and len(text) > len(best[0]):
            best = (text, chr(ord("A") + place))
    same = [choice for choice in choices if _bare(choice) == best[0]]
    return best[1] if best[0] and len(same) == 1 else None


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """One mark an item: filter "answer", metric "accuracy"."""
    letters = [chosen(output, item.choices) for item, output in zip(items, outputs, strict=True)]
    return [
        [Mark("answer", "accuracy", float(letter == item.target), letter is not None)]
        for item, letter in zip(items, letters, strict=True)
    ]


CHOICE = Judge("this project: the final statement, else the letter in front, else the last letter set apart", judge)
