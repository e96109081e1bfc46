"""Verdicts on answers that are one small function. It runs in a limited process, and its outputs are compared here."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gldbench.sandbox.limited import Candidate, Outcome, run_many
from gldbench.schema import Item, Status

FunctionVerdict = tuple[float, Status, str]
"""(1.0 where every test passes else 0.0, status, reason)"""


def run_answers(items: Mapping[str, Item], answers: Mapping[str, str]) -> dict[str, FunctionVerdict]:
    """Item id -> verdict, for the items that have an answer.

    The expected outputs stay in this process. The process of an answer receives the inputs only.
    """
    ids = list(answers)
    candidates = [Candidate(answers[i], items[i].entry, tuple(value for value, _ in items[i].tests)) for i in ids]
    return {i: _verdict(items[i], outcomes) for i, outcomes in zip(ids, run_many(candidates), strict=True)}


def _verdict(item: Item, outcomes: list[Outcome]) -> FunctionVerdict:
    if not item.tests:
        return 0.0, "error", "the item has no tests"
    for status in ("timeout", "error"):
        failed = next((outcome for outcome in outcomes if outcome.status == status), None)
        if failed:
            return 0.0, status, failed.reason
    # compared as JSON text, because 1 == True == 1.0 in Python
    passed = [
        json.dumps(outcome.value) == json.dumps(expected)
        for outcome, (_, expected) in zip(outcomes, item.tests, strict=True)
    ]
    return float(all(passed)), "ok", "" if all(passed) else f"{passed.count(False)} of {len(passed)} tests fail"
