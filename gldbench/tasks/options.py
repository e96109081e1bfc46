"""The reader "options": rows with a question, a list of options, and the answer.

It reads the layouts in which MMLU, MMLU-Pro, ARC, OpenBookQA, CommonsenseQA and HellaSwag are published:

- options: a list of texts, a list of {"text", "label"}, or {"text": [...], "label": [...]}, beside or in the question;
- answer: the number of the option, counted from 0, as a number or as a text; its letter; its label; or its text.

More than five options are refused, because our judge of options reads the letters A to E.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gldbench.tasks.data import Record
from gldbench.tasks.reading import LETTERS, Reading, letter_fields
from gldfusion.errors import InputError

QUESTIONS = ("question", "question_stem", "stem", "problem", "query", "prompt", "input", "ctx", "context", "text")
OPTIONS = ("options", "choices", "endings")
ANSWERS = ("answer", "answerkey", "answer_key", "answer_index", "answer_idx", "label", "gold", "target", "correct")
"""usual names of fields in lower case, the likeliest first"""


def options(row: int, record: Record) -> Reading:
    """A question with two to five options under letters. The id is the number of the row.

    Raises:
        InputError: a field is missing, there are too few or too many options, or the answer names none of them or
            might name two.
    """
    asked = record["question"] if isinstance(record.get("question"), Mapping) else record
    stem = _field(asked, QUESTIONS, "the question")
    texts, labels = _texts(_field({**record, **asked}, OPTIONS, "the options"))
    if not 2 <= len(texts) <= len(LETTERS):
        raise InputError(f"{len(texts)} options: expected 2 to {len(LETTERS)}, under the letters {LETTERS}")
    place = _place(_field(record, ANSWERS, "the answer"), texts, labels)
    fields = {**record, "question": str(stem).strip(), **letter_fields(texts)}
    return Reading(str(row), fields, LETTERS[place], choices=texts)


def _field(record: Mapping[str, Any], usual: Sequence[str], what: str) -> Any:
    """The value of the likeliest field that the row has, whatever the case of its name."""
    named = {str(name).lower(): name for name in record}
    found = next((named[name] for name in usual if name in named), None)
    if found is None:
        raise InputError(f"no field for {what}: expected one of {', '.join(usual)}")
    return record[found]


def _texts(value: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(texts, labels) of the options; the labels are empty where there are none."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        return tuple(map(str, value["text"])), tuple(map(str, value.get("label", ())))
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "text" in one for one in value):
        return tuple(str(one["text"]) for one in value), tuple(str(one["label"]) for one in value if "label" in one)
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return tuple(map(str, value)), ()
    raise InputError(f"expected a list of options, got {value!r:.60}")


def _place(answer: Any, texts: tuple[str, ...], labels: tuple[str, ...]) -> int:
    """The place of the right option, from 0."""
    if isinstance(answer, bool) or not isinstance(answer, int | str):
        raise InputError(f"expected the answer as a number, a letter or a text, got {answer!r:.60}")
    if isinstance(answer, int):
        meant = {answer}
    elif labels and answer.strip() in labels:
        meant = {labels.index(answer.strip())}
    else:
        word = answer.strip()
        meant = {place for place, text in enumerate(texts) if text.strip() == word}
        if len(word) == 1 and word.upper() in LETTERS:
            meant.add(LETTERS.index(word.upper()))
        if word.isascii() and word.isdigit() and len(word) < 3:
            meant.add(int(word))
        meant = {place for place in meant if place < len(texts)}
    if len(meant) > 1:
        raise InputError(f"the answer {answer!r:.60} may mean several options: it is the text of one and names another")
    place = meant.pop() if meant else -1
    if not 0 <= place < len(texts):
        raise InputError(
            f"the answer {answer!r:.60} is none of the {len(texts)} options\n"
            "expected the number of an option, counted from 0, its letter, its label or its text"
        )
    return place
