"""Finding the letter of an option: ARC, HellaSwag, MMLU, and the items of TheoremQA with options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gldbench.grade.answers import NOTHING, SHORT_LINE, Found, Reads, find, readable
from gldbench.grade.cues import Statement, after, last_places
from gldbench.grade.unwrap import LATEX_WRAPPER, first_sentence, is_refusal, unwrap, without_emphasis

_WRAPPED = re.compile(rf"{LATEX_WRAPPER}\s*\{{([^{{}}]*)\}}")
_NOT = re.compile(r"\A(?:(?:certainly|definitely|clearly|probably)\s+)?(?:not|neither|nor|isn't|none|never)\b", re.I)
_FILLING = re.compile(
    r"\A(?:(?:it is|it's|it would be|that is|this is|i (?:would |will |'d |'ll )?(?:choose|pick|select|go with|say)|"
    r"the|that of|option|choice|letter|answer|ending|statement|number|most likely|likely|probably|surely|"
    r"clearly|therefore|would be|to be|be|is|:)\b\s*:?\s*)+",
    re.IGNORECASE,
)
_MARKED = r"[(\[]\s*([A-Ea-e])\s*[)\]]"
_BECAUSE = r"because|since|as|due|for|given|which|but|so|and|or|is|not"
_ENDED = rf"([A-E])(?=\s*(?:[.):,;!?}}\]/|&\n]|$)|\s+(?:{_BECAUSE})\b|\s+[-–—(])"
_VERB = r"\s+(?:is|was|does|would|has|can|could|isn|doesn|can't)\b"
_LETTER = re.compile(
    r"\A\W{0,4}?(?:[(\[{]\s*([A-Ea-e])\s*[)\]}]"
    r"|([A-E])(?=\s*(?:[.):,;!?}\]/|&\n]|\Z)|\s*[-–—]{1,2}|\s+(?:because|since|as|due|for|given|which|but|so|and|or|is|"
    r"with)\b|\s+\()"
    r"|([B-E])(?=\s)|([a-e])(?=\s*[.):]?\s*\Z))"
)
_PERHAPS = r"(?:possibly|perhaps|maybe|even|potentially|else|also)"
_SECOND = re.compile(
    rf"[)\]]?[ \t]*\(?(?:(?:,|/|;|&|\||\band\b|\bor\b)[ \t]*)+(?:{_PERHAPS}\s+)*(?:option\s+)?"
    rf"(?:{_MARKED}|{_ENDED})(?!{_VERB})"
)
"""what names a second letter after the first one, as in "A, or possibly B" and "A (or B)"."""
_CUT_OFF = re.compile(r"[)\]]?\s*(?:\b(?:or|and)\b|/|&)\W*\Z")
"""what announces a second letter at the end of a text that was cut off, as in "A or" """
_RUN = re.compile(r"(?:\s+[A-E]){2,}(?!\w)")
_SEVERAL = re.compile(r"[A-E]{2,5}\W*|[A-E](?:\s*[,/&]\s*[A-E])+\b.*|\W*[(\[]?[A-E][)\]]?(?:\W+[A-E]\b)+\W*", re.DOTALL)
_ALONE = re.compile(r"\W{0,10}[A-E]\W{0,10}")
_ABOUT_IT = re.compile(rf"{_VERB}(?!\s+(?:the\s+|most\s+|likely\s+)*(?:correct|right|best|answer)\b)")
"""what follows the letter in a sentence about an option: "(A) is tempting" """


def read(text: str, choices: Sequence[str]) -> str | None:
    """The letter that a statement such as "C) iron" or "most likely iron" names.

    Returns:
        The letter; "" where the statement names none of the options, or several; None where it is no statement of an
        answer.
    """
    formula = text.strip().startswith(("\\[", "$$"))
    line = _WRAPPED.sub(r"\1", text if formula else text.strip().partition("\n")[0])
    plain = unwrap(re.sub(r"\\[()\[\]]|\$", "", unwrap(line)))
    whole = _option(plain, choices) or _option(first_sentence(plain), choices)
    if whole and not re.fullmatch(r"[A-E]", plain):
        return whole
    rest = _FILLING.sub("", plain)
    found = _LETTER.match(rest)
    if found and _opening(rest[found.end() :].lstrip(").: -–—"), choices) == _group(found):
        return _group(found)  # an option's own text may sound like a refusal
    twice = set(re.findall(r"(?<!\w)[A-E](?!\w)", rest)) if _SEVERAL.fullmatch(rest) else set()
    if len(twice) == 1:  # "C. (C)"
        return twice.pop()
    if _NOT.match(plain) or _NOT.match(rest) or is_refusal(plain) or _SEVERAL.fullmatch(rest):
        return ""
    by_text = _opening(rest, choices) or _opening(plain, choices)
    if found and _ABOUT_IT.match(rest, found.end()):
        return None
    if found and not (by_text and found[3]):
        return "" if _goes_on(rest, found.end()) else _group(found)
    if by_text:
        return by_text
    letters = set(re.findall(r"\(([A-E])\)", rest))
    if len(letters) == 1 and len(rest) < 200 and not re.search(r"\bnot\b|n't\b", rest):
        return letters.pop()
    return "" if len(letters) > 1 else None


@dataclass(frozen=True)
class Letter:
    """The letter that an output settles on, and how it was found."""

    letter: str | None
    found: Found


def chosen_letter(output: str, choices: Sequence[str] = (), stop: Sequence[str] = ()) -> Letter:
    """The letter that the output settles on, "A" to "E".

    The first of these rules that finds something decides:

    1. The whole output is the text of one option.
    2. The last mark (`answers.find`): "the answer is C", "Answer: C", a box, a tag, "C is correct", "I choose C". A
       refusal, a denial and a statement that names two letters mean that there is no answer.
    3. The last sentence is a refusal: there is no answer.
    4. The letter at the beginning.
    5. The last line is an option with its text; the last letter in brackets, quotes or emphasis, or alone on its line;
       the first or the last line is the text of one option. Letters that are denied do not count.

    A letter that opens prose ("A man went home"), a list of letters and a walk through all options are no answers.

    Args:
        output: what a model wrote.
        choices: the texts of the options, in the order of their letters. Without them only letters are read.
        stop: the strings at which `eval` stops generating.
    """

    def reads(text: str) -> Reads:
        letter = read(text, choices)
        return "answer" if letter else "" if letter is None else "refusal"

    text = readable(output, stop)
    whole = _option(text, choices)
    if whole and not _ALONE.fullmatch(text):  # an option may have the text "B"
        return Letter(whole, Found(text.strip(), "bare"))
    found = find(output, reads, stop, cue_a=False, more=_statements, longest_bare=0)
    if found.text is not None or found.refused:
        return Letter(read(found.text, choices) if found.text is not None else None, found)
    return _unmarked(text, choices)


def _statements(text: str) -> list[Statement]:
    """ "C is correct", "the ending that makes most sense is C", "I would go with C"."""
    found = [
        Statement(match.start(), f"{match[1] or ''}{match[2]}", "cue")  # "A or B is correct" settles on neither
        for match in last_places(_CORRECT, text)
    ]
    for match in last_places(_CHOICE, text):
        found += after(text, match.end())
    return found


def _unmarked(text: str, choices: Sequence[str]) -> Letter:
    """Rules 3 to 5 of `chosen_letter`."""
    lines = [line.strip() for line in without_emphasis(text).split("\n") if line.strip()]
    ending = re.split(r"(?<=[.!?])\s+", lines[-1])[-1] if lines else ""
    if not lines or (is_refusal(ending) and not read(ending, choices)):
        return Letter(None, Found(None, "none", refused=bool(lines)))
    if len(lines) == 1 and len(lines[0]) <= SHORT_LINE and _FILLING.match(lines[0]):  # "It is most likely D"
        letter = read(lines[0], choices)
        if letter is not None:
            return Letter(letter or None, Found(lines[0], "bare") if letter else NOTHING)
    plain = _DENIED.sub(" ", _plain(text))
    first = _first(plain, choices)
    if first:
        return Letter(first, Found(first, "bare"))
    line = plain.rpartition("\n")[2].strip()
    labelled = _LABELLED.match(line) and len(line) <= _LONGEST_LINE
    last = (read(line, choices) if labelled else None) or _last(plain) or _named(plain, choices)
    return Letter(last, Found(last, "last_line")) if last else Letter(None, NOTHING)


def last_letter(output: str) -> str | None:
    """The last capital letter from A to E that stands alone anywhere in the output: the most lenient rule."""
    found = re.findall(r"(?<![\w'’])([A-E])(?![\w'’])", readable(output))
    return found[-1] if found else None


_LONGEST_LINE = 1_000
_LABELLED = re.compile(r"\W{0,4}(?:(?i:option|answer|choice)\s+)?\(?[A-E]\)?\s*[:.)–—-]")
_DENIED = re.compile(
    r"(?:\bnot|n't|\bneither|\bnor|\brules? out|\beliminates?|\bexcludes?|\bexcept)\s+"
    r"(?:be |is |option |choice |the |answer )*(?:\([A-E]\)|[A-E]\b)(?:\s*(?:,|or|nor|and)\s*(?:\([A-E]\)|[A-E]\b))*"
)
_QUOTE = r"[*_`$\"'“”‘’]"
_QUOTED = re.compile(rf"(?<!\w){_QUOTE}{{1,4}}[(\[]?([A-Ea-e])[)\].:]{{0,2}}{_QUOTE}{{1,4}}(?!\w)")  # **B**, 'B'
_OPENED = re.compile(rf"(?<!\w){_QUOTE}{{1,4}}[(\[]?([A-E])[)\].:]{{1,2}}(?=\s)")  # **B. the text**
_FIRST = re.compile(
    rf"\W{{0,20}}?(?:{_MARKED}|([a-e])(?=\W{{0,20}}$)"
    r"|([A-E])(?=[.):,;]|\s*(?:\n|$)|\s+(?:because|since|due)\b|\s+[-–—]\s))"
)
_DISMISSED = re.compile(r"[^.\n]{0,40}?(?:\b(?:not|wrong|incorrect|false|ruled out|eliminated?)\b|n't\b)")
_SAID_WRONG = re.compile(rf"\s+(?:is|are|was|would|does|can)\b{_DISMISSED.pattern}")
_CORRECT = re.compile(
    r"(?<!nor )(?<!neither )(?<![\w'’])((?:[(\[]?[A-E][)\]]?(?:[ \t]?/[ \t]?|[ \t]+or[ \t]+)){1,4})?"
    r"[(\[]?([A-E])[)\].:]*\s+(?:makes (?:the )?most sense"
    r"|(?:is|seems|must be|would be)(?:\s+(?!not\b|never\b|less\b|neither\b)\w+){0,3}?"
    r"\s+(?:correct|right|best|answer)\b)"
)
_CHOICE = re.compile(
    r"\b(?:(?:choice|option|ending)\b(?:[ \t]+(?:to|for|of|here|in|among|that|which)\b[^.:\n]{0,100}?)?"
    r"(?:[ \t]*[:=→]|[ \t]+(?:would |should |must |will |has to |can only )?(?:therefore |then |thus )?(?:is|was|be)\b)"
    r"|(?:choose|chose|pick|select|go(?:ing)? with|opt for)\b)",
    re.IGNORECASE,
)
_LIST = re.compile(rf"{_MARKED}(?:[ \t]*+(?:,|/|;|&|\band\b|\bor\b)*+[ \t]*+(?:(?:and|or)[ \t]++)?{_MARKED})+")
_OPTION_LINE = re.compile(r"\W{0,6}([A-E])(?:[.):\]].*)?\s*")


def _plain(text: str) -> str:
    """Quoted or emphasised letters become (C). Other emphasis and walks through the options are removed."""
    text = _OPENED.sub(r"(\1)", _QUOTED.sub(r"(\1)", _WRAPPED.sub(r"\1", text)))
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


def _goes_on(text: str, place: int) -> bool:
    """Whether a second letter follows at this place, or would have followed."""
    return any(pattern.match(text, place) for pattern in (_SECOND, _RUN, _CUT_OFF))


def _group(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()


def _first(text: str, choices: Sequence[str]) -> str | None:
    """The letter at the beginning, unless prose or another letter follows."""
    match = _FIRST.match(text)
    if match is None or _goes_on(text, match.end()):
        return None
    rest = text[match.end() : match.end() + 2_000]
    ended = re.match(r"\s*(?:$|\n|[.,:;!]|[-–—]|(?:because|since|due)\b)", rest) and not rest.startswith(")")
    if ended or _opening(rest.lstrip(").: ").partition("\n")[0], choices) == _group(match):
        return None if _DISMISSED.match(rest.partition("\n")[0]) and not ended else _group(match)
    return None


def _last(text: str) -> str | None:
    """The last letter in brackets or alone on its line. Letters in a list and letters called wrong do not count."""
    text = _LIST.sub(" ", text)
    marked = rf"(?<!\w){_MARKED}|^\W{{0,6}}([A-E])\W{{0,6}}$"
    kept = [match for match in re.finditer(marked, text, re.MULTILINE) if not _SAID_WRONG.match(text, match.end())]
    return _group(kept[-1]) if kept else None


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
