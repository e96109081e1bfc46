"""Reads `samples.jsonl` of EvalPlus: lines with `task_id` and `solution` or `completion`."""

from __future__ import annotations

from pathlib import Path

from gldbench.evaluate.foreign.files import objects, text_of
from gldbench.evaluate.foreign.record import Record
from gldfusion.errors import InputError

KINDS = ("solution", "completion")
"""a whole program; the rest of a program whose beginning is the prompt"""


def read(path: Path) -> list[Record]:
    """One record for each `task_id`; the file has a line for each sample.

    Raises:
        InputError: a line has no `task_id`, or neither `solution` nor `completion`.
    """
    outputs: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for where, line in objects(path):
        kind = next((name for name in KINDS if name in line), None)
        if kind is None or not isinstance(line.get("task_id"), str):
            raise InputError(
                f"{where} has no {'task_id' if kind else 'solution or completion'}\n"
                'expected {"task_id": "HumanEval/0", "solution": "..."}, as EvalPlus takes it'
            )
        places.setdefault(line["task_id"], where)
        outputs.setdefault(line["task_id"], []).append(text_of(line[kind], where, kind))
    return [Record(places[name], tuple(samples), (name, name.rpartition("/")[2])) for name, samples in outputs.items()]
