"""`READERS`: functions that turn a row of a data file into prompt fields, gold answers and options.

A benchmark whose rows already have the fields of its prompt needs none; `plain` reads them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from gldbench.schema import Dataset
from gldbench.tasks.data import Record
from gldbench.tasks.options import options
from gldbench.tasks.reading import LETTERS, Reading, letter_fields, listed
from gldfusion.errors import InputError

Reader = Callable[[int, Record], Reading]
"""(number of the row in the file, from 0; the row) -> what it asks"""


def plain(dataset: Dataset, row: int, record: Record) -> Reading:
    """Reads a row that has the fields of the prompt. The keys `target...` of the dataset say where the gold answer is.

    Raises:
        InputError: `target_pattern` matches nothing.
    """
    text = str(record[dataset.target])
    if dataset.target_pattern is not None:
        found = re.search(dataset.target_pattern, text)
        if found is None:
            raise InputError(f"no gold answer in {text[-60:]!r}: expected a match of {dataset.target_pattern}")
        text = found[1]
    return Reading(str(row), record, text.translate(str.maketrans("", "", dataset.target_without)))


def _continuations(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Puts a space before each option, as lm-eval does; they then follow the prompt directly."""
    return tuple(f" {text}" for text in texts)


def _digest(text: str) -> str:
    """Makes a short name for a text that several items share."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def arc(row: int, record: Record) -> Reading:
    """ARC in AI2's layout, with three to five options. The labels 1, 2, 3, ... of some exams become A, B, C, ..."""
    options = record["question"]["choices"]
    texts = tuple(option["text"] for option in options)
    target = LETTERS[[option["label"] for option in options].index(record["answerKey"])]
    fields = {"question": record["question"]["stem"], **letter_fields(texts)}
    return Reading(record["id"], fields, target, choices=texts)


def arc_ll(row: int, record: Record) -> Reading:
    """ARC with the options as continuations."""
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
        **letter_fields(texts),
    }
    return Reading(str(row), fields, record["answer"], choices=choices or texts)


def mmlu(row: int, record: Record) -> Reading:
    """MMLU with four options. The field `input` is the unchanged question; `question` is stripped, as in lm-eval."""
    return _mmlu(row, record, ())


def mmlu_ll(row: int, record: Record) -> Reading:
    """MMLU with the letters as continuations."""
    return _mmlu(row, record, _continuations(tuple("ABCD")))


def _without_brackets(text: str) -> str:
    """Cleans a text as lm-eval does. Our file has no markup of WikiHow any more, but a few other brackets."""
    return re.sub(r"\[.*?\]", "", text.strip()).replace("  ", " ")


def _hellaswag(row: int, record: Record, space: bool) -> Reading:
    texts = tuple(record["endings"])
    # as in lm-eval's query; `capitalize` also turns the rest of ctx_b into lower case
    second = record["ctx_b"].capitalize()
    fields = {
        "ctx": record["ctx"],
        "activity_label": record["activity_label"],
        "ctx_a": record["ctx_a"],
        "ctx_b": second,
        "query": _without_brackets(f"{record['activity_label']}: {record['ctx_a']} {second}"),
        **dict(zip("ABCD", texts, strict=True)),
        **letter_fields(texts),
    }
    choices = _continuations(tuple(map(_without_brackets, texts))) if space else texts
    return Reading(str(row), fields, LETTERS[record["label"]], choices=choices)


def hellaswag(row: int, record: Record) -> Reading:
    """HellaSwag with four endings under letters."""
    return _hellaswag(row, record, space=False)


def hellaswag_ll(row: int, record: Record) -> Reading:
    """HellaSwag with the endings as continuations of "activity: context"."""
    return _hellaswag(row, record, space=True)


def last_boxed(text: str) -> str | None:
    r"""Returns the content of the last `\boxed{...}` whose braces close; None if there is none."""
    for start in reversed([found.end() for found in re.finditer(r"\\boxed\s*\{", text)]):
        depth = 1
        for brace in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if depth == 0:
                return text[start : start + brace.start()].strip()
    return None


def math(row: int, record: Record) -> Reading:
    r"""MATH. The gold answer is the last `\boxed{}` of the solution; the id is the field `idx`, else the row number."""
    gold = last_boxed(record["solution"])
    if gold is None:
        raise InputError(f"no \\boxed{{}} in the solution {record['solution'][-60:]!r}")
    return Reading(str(record.get("idx", row)), {"problem": record["problem"]}, gold)


def math500(row: int, record: Record) -> Reading:
    """MATH-500, which has a field for the gold answer."""
    return Reading(record["unique_id"], {"problem": record["problem"]}, record["answer"])


def theoremqa(row: int, record: Record) -> Reading:
    """TheoremQA. An answer is a number, a list, a boolean or an option; `record["Answer_type"]` says which.

    Questions with the same first 80 characters describe the same setting, so they form a cluster: 80 of the 800
    questions do, in 35 clusters.
    """
    question = record["Question"]
    return Reading(record["id"], {"question": question}, str(record["Answer"]), _digest(question[:80]))


def drop(row: int, record: Record) -> Reading:
    """DROP in the layout of simple-evals, which has passage and question in one text.

    "|" separates the accepted answers, and " and " the spans of one answer.
    """
    found = re.fullmatch(r"Passage: (.*)\nQuestion: (.*)\nAnswer:", record["context"], re.DOTALL)
    if found is None:
        raise InputError(f"expected Passage:, Question: and Answer: in {record['context'][:60]!r}")
    passage, question = found.groups()
    golds = tuple(dict.fromkeys(gold.strip() for gold in record["ref_text"].split("|")))
    fields = {"prompt": record["context"], "passage": passage, "question": question}
    return Reading(
        item_id=str(row), fields=fields, target=golds[0], cluster=_digest(passage), golds=golds
    )  # the file has no ids of passages


def ifeval(row: int, record: Record) -> Reading:
    """IFEval, which has no gold answers: `record` says which instructions are checked, with which arguments."""
    return Reading(str(record["key"]), {"prompt": record["prompt"]}, "")


def humaneval(row: int, record: Record) -> Reading:
    """HumanEval, HumanEval+ and MBPP+. The prompt is the beginning of the program."""
    fields = {"prompt": record["prompt"], "stripped_prompt": record["prompt"].strip()}
    return Reading(record["task_id"], fields, record["canonical_solution"], entry=record["entry_point"])


def mbpp(row: int, record: Record) -> Reading:
    """MBPP, which names no entry point: it is the function of the reference solution that the first test calls."""
    names = re.findall(r"^\s*def\s+(\w+)", record["code"], re.MULTILINE)
    called = [name for name in names if re.search(rf"\b{name}\s*\(", record["test_list"][0])]
    if not called:
        raise InputError(f"MBPP {record['task_id']}: the first test calls none of the functions {', '.join(names)}")
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
    "options": options,
    "theoremqa": theoremqa,
}
"""the key `reader` of task.yaml -> reader"""

__all__ = ["LETTERS", "READERS", "Reader", "Reading", "Record", "last_boxed", "listed", "plain"]
