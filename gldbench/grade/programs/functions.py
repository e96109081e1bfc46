"""Verdicts on answers that are one small function, which runs in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping

from gldbench.sandbox import UNSAFE, Outcome, require
from gldbench.sandbox.functions import Function, run_functions
from gldbench.schema import Item, Status

FunctionVerdict = tuple[float | None, Status, str]
"""(1.0 where every test passes else 0.0, status, reason); the value is None where the item has no tests"""


def run_answers(items: Mapping[str, Item], answers: Mapping[str, str]) -> dict[str, FunctionVerdict]:
    """Item id -> verdict, for the items that have an answer.

    The expected outputs stay in this process. The process of an answer receives the inputs only.

    Raises:
        InputError: there is no sandbox, and `--unsafe-code` was not given.
    """
    note = "" if require() else UNSAFE
    functions = [Function(answer, items[item_id].entry, items[item_id].tests) for item_id, answer in answers.items()]
    outcomes = run_functions(functions)
    return {
        item_id: _verdict(items[item_id], outcome, note) for item_id, outcome in zip(answers, outcomes, strict=True)
    }


def _verdict(item: Item, outcome: Outcome, note: str) -> FunctionVerdict:
    if not item.tests:
        return None, "error", "the item has no tests"
    status, reason = outcome.status, outcome.reason
    if status == "ok" and outcome.value:
        reason = f"{outcome.value} of {len(item.tests)} tests fail"
    return float(status == "ok" and outcome.value == 0), status, "; ".join(part for part in (reason, note) if part)
