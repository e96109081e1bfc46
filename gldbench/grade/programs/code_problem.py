"""What a benchmark asks of a program: the calls to make, and what its outputs must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gldbench.sandbox import Call, Limits


@dataclass(frozen=True)
class Verdict:
    """Whether a program's outputs are right."""

    right: bool
    """on all tests"""
    right_base: bool
    """on the benchmark's own tests, where EvalPlus added others; else the same as `right`"""
    reason: str = ""


@dataclass(frozen=True)
class Problem:
    """The calls and expected outputs of one item."""

    task_id: str
    entry: str
    """name of the function that the program must define"""
    calls: tuple[Call, ...]
    limits: Limits
    setup: str = ""
    """source that runs after the program, before the calls"""
    base: int = 0
    """so many of the first calls are the benchmark's own tests; the other calls are EvalPlus's"""
    atol: float = 0.0
    """absolute tolerance of the outputs"""
    expected: tuple[Any, ...] = ()
    """outputs of the reference solution, one per call"""
    checker: str = ""
    """source of a module with a function `replay` that runs the benchmark's assertions; "" where `expected` decides"""
    evidence: tuple[Any, ...] = ()
    """first arguments of `replay`; these and `expected` never enter the process of a program"""
    note: str = ""
    """part of the reason in every row of the item"""
    trouble: str = ""
    """why programs cannot be tested; "" where they can"""


def reference(record: Mapping[str, Any]) -> str:
    """The benchmark's own solution as a whole program."""
    if "code" in record:
        return str(record["code"])
    return f"{record['prompt']}{record['canonical_solution']}"
