"""What a benchmark asks of a program: the calls to make, and what its outputs must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gldbench.sandbox import Call, Check, Checked, Limits


@dataclass(frozen=True)
class Verdict:
    """Whether a program's outputs are right."""

    right: bool
    """on all tests"""
    right_base: bool
    """on the benchmark's own tests, where EvalPlus added others; else the same as `right`"""
    status: Literal["ok", "error", "timeout"] = "ok"
    """whether every call returned a value"""
    reason: str = ""


def verdict(checked: Checked) -> Verdict:
    """The verdict of a check that returns [right, right_base, status, reason]."""
    if checked.reason:
        return Verdict(False, False, "timeout" if checked.timeout else "error", checked.reason)
    right, right_base, status, reason = checked.value
    return Verdict(right is True, right_base is True, status, str(reason))


@dataclass(frozen=True)
class Problem:
    """The calls and expected outputs of one item."""

    task_id: str
    entry: str
    """name of the function that the program must define"""
    calls: tuple[Call, ...]
    limits: Limits
    check: Check
    """tells whether outputs are right; nothing of it ever enters the process of a program"""
    setup: str = ""
    """source that runs after the program, before the calls"""
    base: int = 0
    """so many of the first calls are the benchmark's own tests; the other calls are EvalPlus's"""
    note: str = ""
    """part of the reason in every row of the item"""
    trouble: str = ""
    """why programs cannot be tested; "" where they can"""


def reference(record: Mapping[str, Any]) -> str:
    """The benchmark's own solution as a whole program."""
    if "code" in record:
        return str(record["code"])
    return f"{record['prompt']}{record['canonical_solution']}"
