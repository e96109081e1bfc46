"""IFEval: are the instructions of a prompt followed? Checked by lm-eval's copy of the official checkers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from gldbench.grade.judges.judge import Judge, Mark
from gldbench.schema import Item, Task


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """Marks under "strict" (the output as it is) and "loose" (also without its first line, last line and asterisks).

    "prompt_level" is 1 where all instructions of the prompt are followed. "instruction_level" has a mark for each
    instruction, so that its mean is over instructions, as the benchmark defines it.
    """
    from gldbench.grade.sentences import ifeval_checkers, without_chance

    checkers, note = ifeval_checkers()
    with without_chance():
        return [_marks(checkers, note, item, output) for item, output in zip(items, outputs, strict=True)]


def _marks(checkers: Any, note: str, item: Item, output: str) -> list[Mark]:
    from gldbench.grade.sentences import LONGEST_OUTPUT, TOO_LONG, USES_SENTENCES

    record = item.record
    names = record["instruction_id_list"]
    if len(output) > LONGEST_OUTPUT:
        return [dataclasses.replace(mark, status="error", reason=TOO_LONG) for mark in _marks(checkers, "", item, "")]
    asked = checkers.InputExample(
        key=record["key"], instruction_id_list=names, prompt=record["prompt"], kwargs=record["kwargs"]
    )
    note = note if USES_SENTENCES.intersection(names) else ""
    checks = {
        "strict": checkers.test_instruction_following_strict,
        "loose": checkers.test_instruction_following_loose,
    }
    return [
        mark
        for name, check in checks.items()
        for mark in _marks_of(name, names, _followed(check, asked, output), note, bool(output.strip()))
    ]


def _followed(check: Any, asked: Any, output: str) -> Sequence[bool]:
    """Instruction for instruction; JSON that is nested deeper than Python reads follows none of its prompt."""
    try:
        return check(asked, output).follow_instruction_list
    except RecursionError:
        return [False] * len(asked.instruction_id_list)


def _marks_of(
    filter_name: str, names: Sequence[str], followed: Sequence[bool], note: str, answered: bool
) -> list[Mark]:
    """The prompt's mark and one for each instruction."""
    broken = ", ".join(name for name, ok in zip(names, followed, strict=True) if not ok)
    reason = "; ".join(part for part in (f"not followed: {broken}" if broken else "", note) if part)
    parts = [
        Mark(filter_name, "instruction_level", float(ok), answered, "" if ok else f"not followed: {name}", part=str(i))
        for i, (name, ok) in enumerate(zip(names, followed, strict=True))
    ]
    return [Mark(filter_name, "prompt_level", float(all(followed)), answered, reason), *parts]


IFEVAL = Judge("Zhou et al., 2023, Instruction-Following Evaluation for Large Language Models, arXiv:2311.07911", judge)
