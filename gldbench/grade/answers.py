"""The one place that finds the answer in an output. Comparing it with the gold answer is the judges' part.

Each finder takes what a model wrote and returns the answer as text, or None where it finds no answer. Programs are the
exception: `programs/extract.py` finds them, because it needs Python's parser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def last_match(pattern: str, output: str) -> str | None:
    """Group 1 of the last match, without the spaces around it. None without a match, or where it is only spaces."""
    found = re.findall(pattern, output)
    return (found[-1].strip() or None) if found else None


def after_thinking(output: str) -> str:
    """The part of the output after the last `</think>`; the whole output where there is no such tag."""
    return output.rpartition("</think>")[2]


# Boxes and sentences: MATH, TheoremQA

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:(\{)|([^\s{}$]+))")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_ANSWER_IS = re.compile(r"\banswer\s+is[ \t]*:?\s*(\S[^\n]*)", re.IGNORECASE)
_SAID = re.compile(r"\banswer(?:[ \t]+is[ \t]*:?|[ \t]*:)\s*", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[\w}$)\]])\.\s+(?=[A-Z])")
_VALUE_LINE = re.compile(
    r"(?:[^a-zA-Z]|(?<=\d)[eE](?=[-+]?\d))+|(?i:\W*(?:true|false|yes|no)\W*|.*\bis\s+(?:not\s+)?(?:true|false))|.{0,60}[=≈].+"
)


def boxed(output: str) -> str | None:
    """The content of the last complete box, with balanced braces. None where there is no box, or where it is empty."""
    closing, opened = {}, []
    for token in _BRACES.finditer(output):
        if token[0] == "{":
            opened.append(token.start())
        elif token[0] == "}" and opened:
            closing[opened.pop()] = token.start()
    content = None
    for box in _BOX.finditer(output):
        if box[2]:
            content = box[2]
        elif box.start(1) in closing:
            content = output[box.end() : closing[box.start(1)]]
    return content.strip() or None if content else None


def after_answer_is(output: str) -> str | None:
    """The text after the last "answer is", up to the end of its sentence."""
    found = _ANSWER_IS.findall(output)
    if not found:
        return None
    return _SENTENCE.split(found[-1])[0].rstrip(" *.").strip(" *") or None


def boxed_or_said(output: str) -> str | None:
    """The last box, or the text after the last "answer is" or "answer:", whichever comes last.

    Without either: the last line, where it consists of nothing but a value.
    """
    found = list(_SAID.finditer(output))
    box = boxed(output)
    place = max(output.rfind("\\boxed"), output.rfind("\\fbox"))
    if box is not None and (not found or place >= found[-1].start()):
        return box
    if found:
        line = output[found[-1].end() :].lstrip("* ").partition("\n")[0]
        return _SENTENCE.split(line)[0].rstrip(" *.").lstrip(" *") or None
    lines = [line for line in output.split("\n") if line.strip()]
    last = lines[-1].rstrip(" *.").lstrip(" *") if lines else ""
    return last if _VALUE_LINE.fullmatch(last) else None


# The answer line of DROP

_ANSWER_LINE = re.compile(r"(?i)\banswer\**[ \t]*:[ \t*]*+(?:\n[ \t]*+)?(?!\$ANSWER\b)(\S[^\n]*)")
_ANSWER_PHRASE = re.compile(r"(?i)\banswer is:?[ \t]+(\S[^\n]*)")
_LATEX = re.compile(r"\\(?:boxed|text(?:bf|it|rm)?|math(?:bf|rm)|mbox)\s*\{([^{}]*)\}")


def answer_line(output: str) -> str | None:
    """The text of the last line "Answer: ..."; else the text after the last "answer is"; else an output of one line.

    The "Answer: $ANSWER" of the prompt itself is no answer, and neither is a text without any letter or digit.
    """
    lines = [line for line in output.splitlines() if line.strip()]
    alone = lines if len(lines) == 1 and "$ANSWER" not in output else []
    found = _ANSWER_LINE.findall(output) or _ANSWER_PHRASE.findall(output) or alone
    if not found:
        return None
    answer = found[-1]
    for _ in range(3):  # for \boxed{\text{...}}; bounded, because an output may nest a million of them
        answer = _LATEX.sub(r"\1", answer)
    return answer if re.search(r"\w", answer) else None


# The letter of an option: ARC, HellaSwag, MMLU, some items of TheoremQA

_QUOTE = r"[*_`$\"'“”‘’]"
_WRAPPER = re.compile(r"\\(?:text(?:bf|it|rm|tt)?|math(?:bf|rm|it)|mbox)\s*\{([^{}]*)\}")
_LETTER_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}")
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


def chosen_letter(output: str, choices: Sequence[str] = ()) -> str | None:
    """The letter that the output settles on, "A" to "E".

    The first of these rules that finds something decides:

    1. The whole output is the text of one option.
    2. The last statement: "the answer is C", "Answer: C", a box, "option C is correct", or the text of an option after
       "the answer is". A statement that names two letters means that there is no answer.
    3. The letter at the beginning, where the prompts of ARC and HellaSwag ask for it.
    4. The last letter in brackets, quotes or emphasis, or alone on its line.
    5. The first or the last line is the text of one option.

    A letter that opens prose ("A man went home"), a list of letters and a walk through all options are no answers.

    Args:
        output: what a model wrote.
        choices: the texts of the options, in the order of their letters. Without them only letters are read.
    """
    text = after_thinking(output)
    whole = _option(text, choices)
    if whole:
        return whole
    plain = _plain(text)
    stated = _stated(plain, choices)
    if stated is not None:
        return stated or None
    return _first(plain, choices) or _last(plain) or _named(plain, choices)


def _plain(text: str) -> str:
    """Boxes become statements, quoted or emphasised letters become (C). Other emphasis and walks are removed."""
    text = _WRAPPER.sub(r"\1", text)
    text = _LETTER_BOX.sub(lambda match: f"\nAnswer: {match[1].strip()}\n", text)
    text = _OPENED.sub(r"(\1)", _QUOTED.sub(r"(\1)", text))
    return _without_walk(re.sub(r"[*`$#\"“”]|__", "", text)).strip()


def _without_walk(text: str) -> str:
    """The text without blocks of lines that begin with A, B, C in turn: they repeat or discuss all options."""
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
    """Whether the letter that ends at `end` is the first of several: "A or B"."""
    return bool(_SECOND.match(text, end) or _RUN.match(text, end))


def _stated(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the last statement. "" where it names several letters, None where there is no statement."""
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
    """The letter at the beginning, unless prose or another letter follows."""
    match = _FIRST.match(text)
    if match is None or _several(text, match.end()):
        return None
    rest = text[match.end() : match.end() + 2_000]
    ended = re.match(r"\s*(?:$|\n|[.,:;!]|[-–—]|(?:because|since|due)\b)", rest) and not rest.startswith(")")
    if ended or _opening(rest.lstrip(").: ").partition("\n")[0], choices) == _letter(match):
        return None if _DISMISSED.match(rest.partition("\n")[0]) and not ended else _letter(match)
    return None


def _last(text: str) -> str | None:
    """The last letter in brackets or alone on its line. Letters in a list and letters called wrong do not count."""
    text = _LIST.sub(" ", text)
    marks = rf"(?<!\w){_MARKED}|^\W{{0,6}}([A-E])\W{{0,6}}$"
    kept = [match for match in re.finditer(marks, text, re.MULTILINE) if not _SAID_WRONG.match(text, match.end())]
    return _letter(kept[-1]) if kept else None


def _named(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the option that is the first or the last line."""
    lines = [line for line in text.split("\n") if line.strip()]
    return (_option(lines[0], choices) or _option(lines[-1], choices)) if lines else None


def _bare(text: str) -> str:
    """A text of an option without case, extra spaces, quotes, emphasis and punctuation at its ends, for comparing."""
    return " ".join(re.sub(r"[*_`$\"“”]", "", text).casefold().split()).strip(" .,;:!?")


def _option(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the option with exactly this text. None where several options have it."""
    if len(text) > 2_000:
        return None
    same = [place for place, choice in enumerate(choices) if _bare(choice) and _bare(choice) == _bare(text)]
    return chr(ord("A") + same[0]) if len(same) == 1 else None


def _opening(line: str, choices: Sequence[str]) -> str | None:
    """The letter of the longest option that the line begins with, followed by punctuation or the end of the line."""
    line, best = _bare(line[:2_000]), ("", "")
    for place, choice in enumerate(choices):
        text = _bare(choice)
        ends = line == text or (line.startswith(text) and line[len(text) : len(text) + 2].strip() in tuple(".,;:!?)("))
        if ends and len(text) > len(best[0]):
            best = (text, chr(ord("A") + place))
    same = [choice for choice in choices if _bare(choice) == best[0]]
    return best[1] if best[0] and len(same) == 1 else None
