"""IFEval: whether an output follows the instructions of its prompt.

Source: Zhou et al., 2023, Instruction-Following Evaluation for Large Language Models, arXiv:2311.07911.

lm-eval's copy of the official checkers decides, with these corrections:

- A "letter" that is no letter, such as "#", is counted as that character. lm-eval replaces it by a random letter.
- Nothing is drawn at random. An instruction without an argument that it needs is an error.
- Paragraphs are what blank lines separate, so that several blank lines count as one.
- Text in capitals is put into lower case before its language is detected, because langdetect ignores words in capitals.
  We cut 150 questions of GSM8K to 40 words: in capitals it takes 21 % of them for another language than English, and in
  lower case none. A text of fewer than 12 words is too short for langdetect: at 12 words 2 % are mistaken, at 5 words
  23 %. Without accents such a text counts as English, unless it has two frequent words of another language
  (`FOREIGN_WORDS`) and no frequent English one (`ENGLISH_WORDS`): "EL PERRO DUERME EN LA CASA" is not English.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gldbench.grade import answers
from gldbench.grade.judges.judge import Judge, Mark
from gldbench.schema import Item, Status, Task

Check = Callable[[str], bool]
"""a response that is not empty -> whether it follows the instruction"""

FEWEST_WORDS = 12
"""a shorter text in Latin letters without accents counts as English, unless its words say otherwise"""
_ENGLISH = """
the and of to is are was were be been you your my our we they he she his her it its this that these those with for
from at by not what how who when where why which there here can will would should could do does did have has had if
then than but or as so i yes please hello thank thanks all any some one two day time new good best world life answer
question love happy welcome let make
"""
ENGLISH_WORDS = frozenset(_ENGLISH.split())
"""frequent English words that are rare in other languages"""
_FOREIGN = """
el la los las un una es esta estas este que de del en y con por para como mi tu su hola hoy muy si le les des du est
je il elle nous vous dans avec mon et bonjour tout pas une sur der die das und ist ich nicht ein eine im mit auf dem
den heute sehr auch sie wir che di il lo gli sono come stai oggi buon buongiorno della per uma um os meu minha eu
sou nome aqui com ja
"""
FOREIGN_WORDS = frozenset(_FOREIGN.split())
"""frequent words of Spanish, French, German, Italian and Portuguese, written without accents"""
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_SPACES = re.compile(r"\s{3,}")


class UnusableInstructionError(Exception):
    """An instruction that cannot be checked. The message says why."""


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """Marks under the filters "strict" and "loose".

    "strict" checks the response as it is. "loose" also checks it without its first line, its last line and asterisks,
    and one success suffices. The metric "prompt_level" is 1 where the response follows all instructions of the prompt.
    "instruction_level" has one mark per instruction. Its mean is therefore over instructions, as in the benchmark.
    What a model thinks between tags is no part of its response.
    """
    from gldbench.grade.sentences import ifeval_checkers

    library, note = ifeval_checkers()
    with _no_draws(library.instructions_registry.instructions):
        return [_marks(library, note, item, output) for item, output in zip(items, outputs, strict=True)]


@contextmanager
def _no_draws(instructions: Any) -> Iterator[None]:
    """Within the block, a checker of lm-eval that asks for a random number raises `UnusableInstructionError`."""
    places = (instructions, instructions.instructions_util)
    originals = [place.random for place in places]
    try:
        for place in places:
            place.random = _NoRandom()
        yield
    finally:
        for place, original in zip(places, originals, strict=True):
            place.random = original


class _NoRandom:
    def __getattr__(self, name: str) -> Any:
        raise UnusableInstructionError("the item lacks a valid argument, which lm-eval would draw at random")


def _marks(library: Any, note: str, item: Item, output: str) -> list[Mark]:
    from gldbench.grade.sentences import LONGEST_OUTPUT, TOO_LONG, USES_SENTENCES

    record = item.record
    names = record["instruction_id_list"]
    response = answers.visible(output).replace("\r\n", "\n").replace("\r", "\n").strip()
    followed: dict[str, list[bool] | None] = {name: [False] * len(names) for name in ("strict", "loose")}
    status: Status | None = None
    if len(response) > LONGEST_OUTPUT:
        status, note = "error", TOO_LONG
    else:
        note = note if USES_SENTENCES.intersection(names) else ""
        try:
            checks = [_check(library, name, arguments) for name, arguments in zip(names, record["kwargs"], strict=True)]
            followed["strict"] = [_follows(check, [response]) for check in checks]
            followed["loose"] = [_follows(check, _loosened(response)) for check in checks]
        except UnusableInstructionError as error:
            followed, status, note = dict.fromkeys(followed), "error", str(error)
    return [
        mark
        for filter_name, values in followed.items()
        for mark in _marks_of(filter_name, names, values, note, bool(response), status)
    ]


def _follows(check: Check, variants: Sequence[str]) -> bool:
    """Whether one of the variants follows the instruction. JSON that is nested too deeply for Python does not."""
    try:
        return any(bool(variant.strip()) and bool(check(variant)) for variant in variants)
    except RecursionError:
        return False


def _loosened(response: str) -> list[str]:
    """The response without its first or last line, or both, with and without asterisks."""
    lines = response.split("\n")
    cut = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut, *(text.replace("*", "") for text in cut)]


def _check(library: Any, name: str, given: Mapping[str, Any]) -> Check:
    """The check of one instruction.

    Raises:
        UnusableInstructionError: lm-eval does not know the instruction, or its arguments are missing or invalid.
    """
    kinds = library.instructions_registry.INSTRUCTION_DICT
    if name not in kinds:
        raise UnusableInstructionError(f"lm-eval knows no instruction {name}")
    arguments = {key: value for key, value in given.items() if value is not None}
    checker = kinds[name](name)
    character = None
    if name == "keywords:letter_frequency" and len(str(arguments.get("letter", "")).lower()) == 1:
        character = str(arguments["letter"]).lower()
        arguments["letter"] = "a"
    try:
        checker.build_description(**arguments)
    except UnusableInstructionError as error:
        raise UnusableInstructionError(f"{name}: {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UnusableInstructionError(f"{name} has arguments that lm-eval refuses: {str(error)[:120]}") from None
    if character is not None:
        checker._letter = character
    check: Check = checker.check_following
    corrections: dict[str, Check] = {
        "detectable_content:number_placeholders": lambda text: check(_cut_after(text, "]")),
        "detectable_format:title": lambda text: check(_cut_after(text, ">>")),
        "detectable_format:number_bullet_lists": lambda text: check(_BLANK_LINES.sub("\n", text)),
        "detectable_content:postscript": lambda text: check(_SPACES.sub("\n\n", text)),
        "length_constraints:nth_paragraph_first_word": lambda text: check(_paragraphs_only(text)),
        "change_case:english_capital": lambda text: text.isupper() and _english(text),
        "change_case:english_lowercase": lambda text: text.islower() and _english(text),
    }
    return corrections.get(name, check)


def _cut_after(text: str, closing: str) -> str:
    """Each line up to its last closing bracket: an expression of lm-eval then never looks in vain for one.

    The brackets that it finds stay the same. Its time no longer grows with the square of the brackets that are open.
    """
    lines = text.split("\n")
    return "\n".join(line[: line.rfind(closing) + len(closing)] if closing in line else "" for line in lines)


def _paragraphs_only(text: str) -> str:
    """The text with one empty line between paragraphs, and none before the first paragraph."""
    return _BLANK_LINES.sub("\n\n", f"\n\n{text}").strip()


def _english(text: str) -> bool:
    """Whether a text, all in capitals or all in lower case, is English."""
    import langdetect

    plain = text.lower()
    words = set(re.findall(r"[a-z]+", plain))
    if plain.isascii() and len(re.findall(r"\w+", plain)) < FEWEST_WORDS:
        return not ENGLISH_WORDS.isdisjoint(words) or len(words & FOREIGN_WORDS) < 2
    try:
        return bool(langdetect.detect(plain) == "en")
    except langdetect.LangDetectException:
        return True  # as in the benchmark, where a text without words is in any language


def _marks_of(
    filter_name: str,
    names: Sequence[str],
    followed: Sequence[bool] | None,
    note: str,
    answered: bool,
    status: Status | None,
) -> list[Mark]:
    """One mark for the prompt and one for each instruction. `followed` is None where no instruction can be checked."""
    values: Sequence[float | None] = [None] * len(names) if followed is None else [float(ok) for ok in followed]
    broken = ", ".join(name for name, value in zip(names, values, strict=True) if value == 0)
    reason = "; ".join(part for part in (f"not followed: {broken}" if broken else "", note) if part)
    return [
        Mark(
            filter=filter_name,
            metric="prompt_level",
            value=None if followed is None else float(all(followed)),
            answered=answered,
            how="bare" if answered else "none",
            reason=note if status else reason,
            status=status,
        ),
        *(
            Mark(
                filter=filter_name,
                metric="instruction_level",
                value=value,
                answered=answered,
                how="bare" if answered else "none",
                reason=note if status else "" if value else f"not followed: {name}",
                status=status,
                part=str(place),
            )
            for place, (name, value) in enumerate(zip(names, values, strict=True))
        ),
    ]


IFEVAL = Judge(judge)
