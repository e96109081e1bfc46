"""Cases for IFEval: responses that follow or break the only instruction of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gldbench.schema import Item, Task
from gldbench.selftest.cases import EMPTY, Case, garbage, made

TEXT = "This is a short plain text about a walk in the park on a warm summer day with some good old friends"
SECOND = "Here is quite another piece of writing which tells of the sea and of the ships that sail on it"
THOUGHT = "First, I list what is asked: a text, with words in it. Then I write it."

Pair = tuple[list[str], str]
"""(responses that follow the instruction, one response that breaks it)"""
Builder = Callable[[Mapping[str, Any]], Pair]
"""arguments of the instruction -> responses"""


def _both(form: Callable[[str], str], broken: str) -> Pair:
    return [form(TEXT), form(SECOND)], broken


def _repeated(word: str, relation: str, count: int) -> Pair:
    """Responses that repeat the word at least so often, or less often."""
    if relation == "at least":
        return _both(lambda text: f"{text} {(word + ' ') * count}", f"{TEXT} {(word + ' ') * (count - 1)}")
    return _both(lambda text: f"{text} {(word + ' ') * (count - 1)}", f"{TEXT} {(word + ' ') * count}")


def _words(kwargs: Mapping[str, Any]) -> Pair:
    count, enough = kwargs["num_words"], kwargs["relation"] == "at least"
    longer, shorter = "walk " * (count + 1), "walk " * max(1, count - 1)
    return ([longer, "boat " * (count + 7)], shorter) if enough else ([shorter, "boat " * max(1, count - 3)], longer)


def _bullets(kwargs: Mapping[str, Any]) -> Pair:
    count = kwargs["num_bullets"]
    return ["* one point\n" * count, "- one point\n" * count], "* one point\n" * (count + 1)


def _placeholders(kwargs: Mapping[str, Any]) -> Pair:
    count = kwargs["num_placeholders"]
    return _both(lambda text: text + " [name]" * count, TEXT + " [name]" * (count - 1))


def _highlights(kwargs: Mapping[str, Any]) -> Pair:
    count = kwargs["num_highlights"]
    return _both(lambda text: text + " *a part*" * count, TEXT + " *a part*" * (count - 1))


def _sections(kwargs: Mapping[str, Any]) -> Pair:
    count, name = kwargs["num_sections"], kwargs["section_spliter"]

    def written(text: str, sections: int) -> str:
        return "\n".join(f"{name} {number}\n{text}" for number in range(1, sections + 1))

    return _both(lambda text: written(text, count), written(TEXT, count - 1))


def _letters(kwargs: Mapping[str, Any]) -> Pair:
    """Responses that have the character often enough, or too often. It may be no letter, such as "#"."""
    character, count = kwargs["letter"], int(kwargs["let_frequency"])
    plain = "".join(sign for sign in f"{TEXT} 1234567890" if sign.lower() != character.lower())
    many, few = f"{plain} {character * count}", f"{plain} {character * (count - 1)}"
    if kwargs["let_relation"] == "at least":
        return [many, f"{plain} {character * (count + 3)}"], few
    return [few, plain], many


def _stars(kwargs: Mapping[str, Any]) -> Pair:
    count = kwargs["num_paragraphs"]
    return ["\n***\n".join([TEXT] * count), "\r\n\r\n***\r\n".join([SECOND] * count)], "\n***\n".join(
        [TEXT] * (count + 1)
    )


def _nth_paragraph(kwargs: Mapping[str, Any]) -> Pair:
    """Paragraphs with one blank line between them, and with more blank lines before and between them."""
    paragraphs = [TEXT] * kwargs["num_paragraphs"]
    paragraphs[kwargs["nth_paragraph"] - 1] = f"{kwargs['first_word'].capitalize()} or else. {SECOND}"
    return ["\n\n".join(paragraphs), "\n\n" + "\n\n\n\n".join(paragraphs)], "\n\n".join([*paragraphs, TEXT])


BUILDERS: dict[str, Builder] = {
    "punctuation:no_comma": lambda k: _both(str, f"{TEXT}, or not"),
    "length_constraints:number_words": _words,
    "keywords:forbidden_words": lambda k: _both(str, f"{TEXT} {k['forbidden_words'][0]}"),
    "keywords:existence": lambda k: _both(lambda text: f"{text} {' '.join(k['keywords'])}", TEXT),
    "keywords:letter_frequency": _letters,
    "length_constraints:number_paragraphs": _stars,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "keywords:frequency": lambda k: _repeated(k["keyword"], k["relation"], k["frequency"]),
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:json_format": lambda k: (
        ['{"walk": ["park", 1]}', '```json\n{"walk": true}\n```'],
        '{"walk": ["park", 1]',
    ),
    "detectable_format:title": lambda k: _both(lambda text: f"<<A walk>>\n{text}", f"A walk\n{TEXT}"),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": lambda k: _both(lambda text: f"{text}\n\n{k['postscript_marker']} more", TEXT),
    "startend:quotation": lambda k: _both(lambda text: f'"{text}"', f'"{TEXT}" he said'),
    "startend:end_checker": lambda k: _both(lambda text: f"{text}. {k['end_phrase']}", f"{k['end_phrase']} {TEXT}."),
    "combination:two_responses": lambda k: ([f"{TEXT}\n******\n{SECOND}", f"{SECOND}\n******\n{TEXT}"], TEXT),
    "change_case:english_lowercase": lambda k: _both(str.lower, TEXT),
    "change_case:english_capital": lambda k: _both(str.upper, TEXT),
}
"""instruction -> builder of responses that follow it and of one that breaks it"""

EASY = frozenset(
    ("punctuation:no_comma", "length_constraints:number_words", "keywords:forbidden_words", "keywords:frequency",
     "keywords:letter_frequency", "change_case:english_lowercase")
)  # fmt: skip
"""instructions that a text can follow by accident; they get no cases of other texts"""


def is_built(item: Item) -> bool:
    """Whether the prompt has only one instruction, and a builder for it exists."""
    names = item.record["instruction_id_list"]
    return len(names) == 1 and names[0] in BUILDERS


def cases(task: Task, items: Sequence[Item]) -> list[Case]:
    """Responses that follow the instruction in two ways, one that breaks it, and texts that ignore it."""
    found: list[Case] = []
    for item in items:
        name = item.record["instruction_id_list"][0]
        (first, second), broken = BUILDERS[name](item.record["kwargs"][0])
        found += made("gold", item, [first]) + made(
            "paraphrase", item, [second, f"<think>{THOUGHT}</think>\n\n{first}"]
        )
        found += made("near_miss", item, [broken]) + made("empty", item, [*EMPTY, f"<think>{THOUGHT}"])
        if name not in EASY:
            found += made("other", item, [TEXT]) + made("garbage", item, garbage(item))
            found += made("adversarial", item, ["A B C D", "True", "[" * 3_000, "\\boxed{}", '{"a": ' * 500])
    return found
