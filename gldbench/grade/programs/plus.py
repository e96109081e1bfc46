"""HumanEval+ and MBPP+: called with EvalPlus's inputs, a program must return what the reference solution returns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gldbench.grade.programs.code_problem import Problem, Verdict, reference
from gldbench.grade.programs.inputs import typed_inputs
from gldbench.grade.programs.outputs import right_outputs
from gldbench.grade.programs.references import GENEROUS, run_references
from gldbench.sandbox import Limits, Program, Result

_LEAST_CPU, _FACTOR = 10, 5
"""processor time of a program: at least so many seconds, or so many times what the reference solution takes"""
_TOO_LARGE: dict[str, tuple[int, frozenset[int]]] = {"Mbpp/255": (112, frozenset({88, 89, 93, 103}))}
"""problem -> (number of its inputs, places of those for which the reference solution returns more than 32 MiB). The
four of Mbpp/255 have up to 1.7 million combinations of 77 values, and it takes minutes to find out."""


def prepare(records: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Runs the reference solutions in the sandbox. Their outputs are the expected ones."""
    inputs = [_inputs(record) for record in records]
    programs = [
        Program(reference(record), record["entry_point"], _small_enough(record, calls), limits=GENEROUS)
        for record, calls in zip(records, inputs, strict=True)
    ]
    return [
        _problem(record, calls, result)
        for record, calls, result in zip(records, inputs, run_references(programs), strict=True)
    ]


def _inputs(record: Mapping[str, Any]) -> tuple[tuple[Any, ...], ...]:
    # one problem has {} where it has no further inputs
    rows = [*record["base_input"], *(record["plus_input"] or ())]
    return tuple(typed_inputs(record["task_id"], row) for row in rows)


def _too_large(record: Mapping[str, Any], number: int) -> frozenset[int]:
    expected, places = _TOO_LARGE.get(record["task_id"], (number, frozenset()))
    return places if number == expected else frozenset()


def _small_enough(record: Mapping[str, Any], calls: tuple[tuple[Any, ...], ...]) -> tuple[tuple[Any, ...], ...]:
    return tuple(call for place, call in enumerate(calls) if place not in _too_large(record, len(calls)))


def _problem(record: Mapping[str, Any], calls: tuple[tuple[Any, ...], ...], result: Result) -> Problem:
    """Leaves out inputs that the reference solution cannot answer within the limits (Mbpp/255). The rows say so."""
    skipped, outcomes = _too_large(record, len(calls)), iter(result.outcomes)
    answers = [None if place in skipped else next(outcomes) for place in range(len(calls))]
    seconds = max(_LEAST_CPU, math.ceil(_FACTOR * result.cpu_seconds))
    limits = Limits(
        cpu_seconds=seconds,
        wall_seconds=60 + 2 * seconds,
        memory_mb=GENEROUS.memory_mb,
        output_bytes=2**20 + 4 * result.output_bytes,
    )
    base = len(record["base_input"])
    good = [answer is not None and answer.status == "ok" for answer in answers]
    places = ", ".join(str(place) for place, kept in enumerate(good) if not kept)
    left_out = f"{good.count(False)} of {len(good)} inputs left out ({places}): the reference itself fails"
    failed = next((outcome.reason for outcome in result.outcomes[:base] if outcome.status != "ok"), "")
    return Problem(
        task_id=record["task_id"],
        entry=record["entry_point"],
        calls=tuple(call for call, kept in zip(calls, good, strict=True) if kept),
        limits=limits,
        base=base,
        atol=float(record["atol"]),
        expected=tuple(outcome.value for outcome in result.outcomes if outcome.status == "ok"),
        note="" if all(good) else left_out,
        trouble=f"the reference itself fails: {failed}" if failed else "",
    )


def judge(problem: Problem, result: Result) -> Verdict:
    """Compares the outputs with the expected ones. A failed call is wrong."""
    outputs = [outcome.value for outcome in result.outcomes]
    calls = [call for call in problem.calls if not isinstance(call, str)]
    right: list[bool] = []
    for part in (slice(0, problem.base), slice(problem.base, None)):
        right += right_outputs(problem.task_id, calls[part], outputs[part], problem.expected[part], problem.atol)
    right = [good and outcome.status == "ok" for good, outcome in zip(right, result.outcomes, strict=True)]
    reason = "" if all(right) else f"{right.count(False)} of {len(right)} tests fail"
    return Verdict(all(right), all(right[: problem.base]), reason)
