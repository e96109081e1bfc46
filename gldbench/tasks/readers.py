"""What a row of a benchmark's data file asks: `READERS` turns rows into prompt fields, gold answers and options."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gldbench.schema import Dataset
from gldbench.tasks.data import Record
from gldfusion.errors import InputError

LETTERS = "ABCDE"


@dataclass(frozen=True)
class Reading:
    """What a reader makes of one row."""

    item_id: str
    fields: Mapping[str, Any]
    """what the prompt's `{field}`s stand for"""
    target: str
    cluster: str = ""
    """what it shares with other items, such as a passage; "" = the subtask, or nothing"""
    golds: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    entry: str = ""


Reader = Callable[[int, Record], Reading]
"""(row from 0 in the file, the row) -> what it asks"""


def plain(dataset: Dataset, row: int, record: Record) -> Reading:
    """A row whose fields are the prompt's, with the gold answer that the dataset's `target` keys describe."""
    text = str(record[dataset.target])
    if dataset.target_pattern is not None:
        found = re.search(dataset.target_pattern, text)
        if found is None:
            raise InputError(f"no gold answer in {text[-60:]!r}: expected {dataset.target_pattern}")
        text = found[1]
    return Reading(str(row), record, text.translate(str.maketrans("", "", dataset.target_without)))


def listed(texts: tuple[str, ...], indent: str = "") -> str:
    """The options as lines "A. ..."."""
    return "\n".join(f"{indent}{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False))


def _in_words(letters: str) -> str:
    """ "ABCD" -> "A, B, C or D"."""
    return f"{', '.join(letters[:-1])} or {letters[-1]}"


def _letters(texts: tuple[str, ...]) -> dict[str, str]:
    """Prompt fields of options: however many an item has, all of them are listed."""
    return {
        "options": listed(texts),
        "indented_options": listed(texts, " "),
        "letters": _in_words(LETTERS[: len(texts)]),
        "quoted_letters": ", ".join(f"'{letter}'" for letter in LETTERS[: len(texts)]),
    }


def _continuations(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Options as they follow the prompt, one space before each (lm-eval's target delimiter)."""
    return tuple(f" {text}" for text in texts)


def _digest(text: str) -> str:
    """A short name for a text that several items share."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def arc(row: int, record: Record) -> Reading:
    """AI2's layout. Three to five options; labels 1, 2, 3, ... of some exams become A, B, C, ..."""
    options = record["question"]["choices"]
    texts = tuple(option["text"] for option in options)
    target = LETTERS[[option["label"] for option in options].index(record["answerKey"])]
    fields = {"question": record["question"]["stem"], **_letters(texts)}
    return Reading(record["id"], fields, target, choices=texts)


def arc_ll(row: int, record: Record) -> Reading:
    """The options themselves as continuations."""
    reading = arc(row, record)
    return Reading(reading.item_id, reading.fields, reading.target, choices=_continuations(reading.choices))


def _mmlu(row: int, record: Record, choices: tuple[str, ...]) -> Reading:
    subject, texts = record["subject"].replace("_", " "), tuple(record[letter] for letter in "ABCD")
    hint = f"There is a single choice question about {subject}. Answer the question by replying A, B, C or D."
    fields = {
        "_hint": hint,
        "subject": subject,
        "input": record["question"],
        "question": record["question"].strip(),
        "answer": record["answer"],
        **dict(zip("ABCD", texts, strict=True)),
        **_letters(texts),
    }
    return Reading(str(row), fields, record["answer"], choices=choices or texts)


def mmlu(row: int, record: Record) -> Reading:
    """Four options; `input` is the question as it is, `question` without the spaces around it (lm-eval's form)."""
    return _mmlu(row, record, ())


def mmlu_ll(row: int, record: Record) -> Reading:
    """The letters as continuations."""
    return _mmlu(row, record, _continuations(tuple("ABCD")))


def _without_brackets(text: str) -> str:
    """lm-eval's cleaning: our file has lost WikiHow's own markup already, not the few other brackets."""
    return re.sub(r"\[.*?\]", "", text.strip()).replace("  ", " ")


def _hellaswag(row: int, record: Record, space: bool) -> Reading:
    texts = tuple(record["endings"])
    # lm-eval's query: `capitalize` also makes the rest of ctx_b lower case
    second = record["ctx_b"].capitalize()
    fields = {
        "ctx": record["ctx"],
        "activity_label": record["activity_label"],
        "ctx_a": record["ctx_a"],
        "ctx_b": second,
        "query": _without_brackets(f"{record['activity_label']}: {record['ctx_a']} {second}"),
        **dict(zip("ABCD", texts, strict=True)),
        **_letters(texts),
    }
    choices = _continuations(tuple(map(_without_brackets, texts))) if space else texts
    return Reading(str(row), fields, LETTERS[record["label"]], choices=choices)


def hellaswag(row: int, record: Record) -> Reading:
    """Four endings under letters."""
    return _hellaswag(row, record, space=False)


def hellaswag_ll(row: int, record: Record) -> Reading:
    """The endings themselves as continuations of "activity: context"."""
    return _hellaswag(row, record, space=True)


def last_boxed(text: str) -> str | None:
    r"""What stands inside the last `\boxed{...}` whose braces close; None where there is none."""
    for start in reversed([found.end() for found in re.finditer(r"\\boxed\s*\{", text)]):
        depth = 1
        for brace in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if depth == 0:
                return text[start : start + brace.start()].strip()
    return None


def math(row: int, record: Record) -> Reading:
    r"""The gold answer is the last `\boxed{}` of the solution; the id is `idx`, else the row."""
    gold = last_boxed(record["solution"])
    if gold is None:
        raise InputError(f"no \\boxed{{}} in the solution {record['solution'][-60:]!r}")
    return Reading(str(record.get("idx", row)), {"problem": record["problem"]}, gold)


def math500(row: int, record: Record) -> Reading:
    """MATH-500 names its answers."""
    return Reading(record["unique_id"], {"problem": record["problem"]}, record["answer"])


def theoremqa(row: int, record: Record) -> Reading:
    """Answers are numbers, lists, booleans and options: `record["Answer_type"]` says which.

    Questions that begin with the same 80 characters are about one setting (80 of the 800, in 35 groups): a cluster.
    """
    question = record["Question"]
    return Reading(record["id"], {"question": question}, str(record["Answer"]), _digest(question[:80]))


def drop(row: int, record: Record) -> Reading:
    """simple-evals' layout: passage and question in one text, gold answers joined by "|" (several spans by " and ")."""
    found = re.fullmatch(r"Passage: (.*)\nQuestion: (.*)\nAnswer:", record["context"], re.DOTALL)
    if found is None:
        raise InputError(f"expected Passage:, Question: and Answer: in {record['context'][:60]!r}")
    passage, question = found.groups()
    golds = tuple(dict.fromkeys(gold.strip() for gold in record["ref_text"].split("|")))
    fields = {"prompt": record["context"], "passage": passage, "question": question}
    return Reading(str(row), fields, golds[0], _digest(passage), golds)  # the file has no passage ids


def ifeval(row: int, record: Record) -> Reading:
    """No gold answer: `record` says which instructions are checked, and with which arguments."""
    return Reading(str(record["key"]), {"prompt": record["prompt"]}, "")


def humaneval(row: int, record: Record) -> Reading:
    """HumanEval, HumanEval+ and MBPP+: the prompt is the beginning of the program."""
    fields = {"prompt": record["prompt"], "stripped_prompt": record["prompt"].strip()}
    return Reading(record["task_id"], fields, record["canonical_solution"], entry=record["entry_point"])


def mbpp(row: int, record: Record) -> Reading:
    """MBPP names no entry point: it is the function of the reference solution that the first test calls."""
    names = re.findall(r"^\s*def\s+(\w+)", record["code"], re.MULTILINE)
    called = [name for name in names if re.search(rf"\b{name}\s*\(", record["test_list"][0])]
    if not called:
        raise InputError(f"MBPP {record['task_id']}: the first test calls none of {', '.join(names)}")
    fields = {"text": record["text"], "code": record["code"], "tests": "\n".join(record["test_list"])}
    return Reading(str(record["task_id"]), fields, record["code"], entry=called[0])


READERS: dict[str, Reader] = {
    "arc_c": arc,
    "arc_c_ll": arc_ll,
    "drop": drop,
    "hellaswag": hellaswag,
    "hellaswag_ll": hellaswag_ll,
    "humaneval": humaneval,
    "ifeval": ifeval,
    "math": math,
    "math500": math500,
    "mbpp": mbpp,
    "mmlu": mmlu,
    "mmlu_ll": mmlu_ll,
    "theoremqa": theoremqa,
}
