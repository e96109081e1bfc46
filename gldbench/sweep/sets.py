"""Sets of instructions with reference answers (Dolly, Self-Instruct, Vicuna, S-NI): files that the user names.

Each line of a file is a JSON object: `instruction` or `prompt`, perhaps `input` or `context`, and `output` or
`response`, which is a text or a list of accepted texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gldbench.grade.judges.rouge import METRIC
from gldbench.schema import Dataset, Generation, Headline, Item, Task
from gldfusion.errors import InputError
from gldfusion.files import hash_file
from gldfusion.reading import read_json_lines, shown

CITATION = "Lin, 2004, ROUGE: A Package for Automatic Evaluation of Summaries, W04-1013"
MEND = 'expected lines such as {"instruction": "...", "input": "...", "output": "..."}'


def load_set(name: str, file: Path, max_tokens: int, limit: int | None) -> tuple[Task, list[Item]]:
    """Reads a set as a task with its items.

    Args:
        name: name of the set.
        file: its file.
        max_tokens: token limit of an answer.
        limit: most items; None: all.

    Raises:
        InputError: the file is missing, is not JSON lines, or a line lacks a field.
    """
    if not file.is_file():
        raise InputError(f"the set {name} is not here: {file} does not exist\ngive its path under evaluation.sets")
    records = read_json_lines(file, f"set {name}", MEND)
    items = [_item(name, file, number, record) for number, record in enumerate(records)]
    if not items:
        raise InputError(f"the set {name} is empty: {file}\n{MEND}")
    task = Task(
        name=name,
        version=1,
        title=f"{name}: instructions, scored by ROUGE-L",
        dataset=Dataset("file", "that of the file", str(file), sha256=hash_file(file), count=len(items)),
        prompt="{prompt}",
        scorer="rouge_l",
        generation=Generation(max_tokens),
        headline=Headline("ours", "answer", METRIC),
        chance=0.0,
        citation=CITATION,
    )
    return task, items[: limit or len(items)]


def _item(name: str, file: Path, number: int, record: Mapping[str, Any]) -> Item:
    instruction = record.get("instruction") or record.get("prompt")
    beside = record.get("input") or record.get("context") or ""
    answers = record.get("output", record.get("response"))
    golds = tuple(answers) if isinstance(answers, list) else (answers,)
    if not isinstance(instruction, str) or not isinstance(beside, str) or not golds or not all(
        isinstance(gold, str) for gold in golds
    ):  # fmt: skip
        raise InputError(f"line {number + 1} of {file} is {shown(record)}\n{MEND}")
    prompt = f"{instruction}\n\n{beside}" if beside else instruction
    return Item(
        task=name, variant="default", item_id=str(number), prompt=prompt, target=golds[0], cluster="", golds=golds
    )
