"""What is asked of a program: the calls to be made, and what its outputs are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gldbench.sandbox import Call, Limits


@dataclass(frozen=True)
class Verdict:
    """What a program's outputs came to."""

    right: bool
    right_base: bool
    """on the benchmark's own tests, where EvalPlus added others; else as `right`"""
    reason: str = ""


@dataclass(frozen=True)
class Problem:
    """One item's calls."""

    task_id: str
    entry: str
    calls: tuple[Call, ...]
    limits: Limits
    setup: str = ""
    base: int = 0
    """the first calls are the benchmark's own tests, the others EvalPlus's"""
    atol: float = 0.0
    expected: tuple[Any, ...] = ()
    """outputs of the reference, one per call"""
    checker: str = ""
    """a module whose function `replay` judges outputs where none are expected: the benchmark's own assertions"""
    evidence: tuple[Any, ...] = ()
    """first arguments of `replay`; neither these nor `expected` ever enter a candidate's process"""
    note: str = ""
    """said with every verdict"""
    trouble: str = ""
    """why it cannot be tested"""


def reference(record: Mapping[str, Any]) -> str:
    """The benchmark's own solution as a whole program."""
    if "code" in record:
        return str(record["code"])
    return f"{record['prompt']}{record['canonical_solution']}"
