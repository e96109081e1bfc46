"""HumanEval+ and MBPP+: called with EvalPlus's inputs, a program must return what the reference solution returns."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gldbench.grade.programs import outputs
from gldbench.grade.programs.code_problem import Problem, reference
from gldbench.grade.programs.inputs import typed_inputs
from gldbench.grade.programs.references import GENEROUS, run_references
from gldbench.sandbox import Check, Limits, Program, Result

_LEAST_CPU, _FACTOR = 10, 5
"""processor time of a program: at least so many seconds, or so many times what the reference solution takes"""
_BYTES_PER_SECOND = 2**20
"""so many bytes of the reference's outputs give the checker a further second of processor time"""
_TOO_LARGE: dict[str, tuple[int, frozenset[int]]] = {"Mbpp/255": (112, frozenset({88, 89, 93, 103}))}
"""problem -> (number of its inputs, places of those for which the reference solution returns more than 32 MiB). The
four of Mbpp/255 have up to 1.7 million combinations of 77 values, and it takes minutes to find out."""


def prepare(records: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Runs the reference solutions in the sandbox. Their outputs are the expected ones."""
    inputs = [typed_calls(record) for record in records]
    programs = [
        Program(reference(record), record["entry_point"], _small_enough(record, calls), limits=GENEROUS)
        for record, calls in zip(records, inputs, strict=True)
    ]
    return [
        _problem(record, calls, result)
        for record, calls, result in zip(records, inputs, run_references(programs), strict=True)
    ]


def typed_calls(record: Mapping[str, Any]) -> tuple[tuple[Any, ...], ...]:
    """The benchmark's own inputs, and then those of EvalPlus."""
    # one problem has {} where it has no further inputs
    rows = [*record["base_input"], *(record["plus_input"] or ())]
    return tuple(typed_inputs(record["task_id"], row) for row in rows)


def too_large(record: Mapping[str, Any], number: int) -> frozenset[int]:
    """The places of inputs for which the reference solution returns more than a result may hold."""
    expected, places = _TOO_LARGE.get(record["task_id"], (number, frozenset()))
    return places if number == expected else frozenset()


def _small_enough(record: Mapping[str, Any], calls: tuple[tuple[Any, ...], ...]) -> tuple[tuple[Any, ...], ...]:
    return tuple(call for place, call in enumerate(calls) if place not in too_large(record, len(calls)))


def _problem(record: Mapping[str, Any], calls: tuple[tuple[Any, ...], ...], result: Result) -> Problem:
    """Leaves out inputs that the reference solution cannot answer within the limits (Mbpp/255). The rows say so."""
    skipped, answered = too_large(record, len(calls)), iter(result.answered)
    good = [place not in skipped and next(answered) for place in range(len(calls))]
    seconds = max(_LEAST_CPU, math.ceil(_FACTOR * result.cpu_seconds))
    limits = Limits(
        cpu_seconds=seconds,
        wall_seconds=60 + 2 * seconds,
        memory_mb=GENEROUS.memory_mb,
        output_bytes=2**20 + 2 * len(result.output),
    )
    base, failed = len(record["base_input"]), result.failed()
    places = ", ".join(str(place) for place, kept in enumerate(good) if not kept)
    left_out = f"{good.count(False)} of {len(good)} inputs left out ({places}): the reference itself fails"
    kept = tuple(call for call, chosen in zip(calls, good, strict=True) if chosen)
    return Problem(
        task_id=record["task_id"],
        entry=record["entry_point"],
        calls=kept,
        limits=limits,
        base=base,
        check=_check(record, kept, result),
        note="" if all(good) else left_out,
        trouble=f"the reference itself fails: {failed.reason}" if failed and not all(good[:base]) else "",
    )


def _check(record: Mapping[str, Any], calls: tuple[tuple[Any, ...], ...], result: Result) -> Check:
    """The check of outputs: in the calls that the reference answered, they must be those of the reference."""
    if not all(result.answered):
        lines = zip(io.BytesIO(result.output), result.answered, strict=False)
        result = Result(b"".join(line for line, answered in lines if answered), len(calls), result.ending)
    seconds = _LEAST_CPU + len(result.output) // _BYTES_PER_SECOND
    task_id = record["task_id"]
    inputs = list(calls) if task_id in outputs.RULES else None
    return Check(
        source=Path(outputs.__file__).read_text(encoding="utf-8"),
        arguments=(task_id, inputs, len(record["base_input"]), float(record["atol"])),
        expected=(result,),
        limits=Limits(cpu_seconds=seconds, wall_seconds=60 + 2 * seconds, memory_mb=GENEROUS.memory_mb),
    )
