"""IFEval: lm-eval's copy of the official checkers decides whether an output follows the instructions of its prompt.

Source: Zhou et al., 2023, Instruction-Following Evaluation for Large Language Models, arXiv:2311.07911.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from gldbench.grade.judges.judge import Judge, Mark
from gldbench.schema import Item, Task


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """Marks under the filters "strict" and "loose".

    "strict" checks the output as it is. "loose" also checks it without its first line, its last line and asterisks, and
    one success suffices. The metric "prompt_level" is 1 where the output follows all instructions of the prompt.
    "instruction_level" has one mark per instruction. Its mean is therefore over instructions, as in the benchmark.
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
    """Whether each instruction is followed. JSON that is nested too deeply for Python follows none of them."""
    try:
        return check(asked, output).follow_instruction_list
    except RecursionError:
        return [False] * len(asked.instruction_id_list)


def _marks_of(
    filter_name: str, names: Sequence[str], followed: Sequence[bool], note: str, answered: bool
) -> list[Mark]:
    """One mark for the prompt and one for each instruction."""
    broken = ", ".join(name for name, ok in zip(names, followed, strict=True) if not ok)
    reason = "; ".join(part for part in (f"not followed: {broken}" if broken else "", note) if part)
    parts = [
        Mark(
            filter=filter_name,
            metric="instruction_level",
            value=float(ok),
            answered=answered,
            reason="" if ok else f"not followed: {name}",
            part=str(i),
        )
        for i, (name, ok) in enumerate(zip(names, followed, strict=True))
    ]
    whole = Mark(
        filter=filter_name, metric="prompt_level", value=float(all(followed)), answered=answered, reason=reason
    )
    return [whole, *parts]


IFEVAL = Judge(judge)
