"""HumanEval and MBPP: the benchmark's own assertions, checked in another process than that of the program.

The process of the program makes the calls that the assertions make, and writes what they return. The assertions and
their expected values run in the checker's sandbox, on these plain values. There no object of the program can take part
in a comparison, and the program finds nothing but its own inputs in its memory. For HumanEval the calls are recorded by
running the tests on the reference solution. For MBPP they are cut out of the source of each assertion.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from gldbench.grade.programs.code_problem import Problem, reference
from gldbench.grade.programs.references import GENEROUS, run_references
from gldbench.sandbox import Check, Limits, Program

LIMITS = Limits(cpu_seconds=10, memory_mb=2048)
_CHECKING = Limits(cpu_seconds=20, memory_mb=4096, output_bytes=2**20)

# HumanEval: the tests call a stand-in for the program, which records arguments or replays outputs. Some tests draw
# random inputs; both runs draw the same ones, because the sandbox seeds the generator.
_RECORDER = """
def record(entry):
    import copy
    calls, function = [], globals()[entry]
    def stand_in(*arguments):
        calls.append(copy.deepcopy(arguments))
        return function(*arguments)
    check(stand_in)
    return calls
def replay(calls, outputs):
    turn = iter(zip(calls, outputs))
    def stand_in(*arguments):
        recorded, output = next(turn)
        if recorded != arguments:
            raise ValueError("the tests made another call than they recorded")
        return output
    try:
        check(stand_in)
    except Exception as error:
        return "the tests fail" if isinstance(error, AssertionError) else "the tests raise " + type(error).__name__
    return ""
"""

# MBPP: in the assertions, outputs have replaced the calls
_ASSERTER = """
def replay(assertions, outputs):
    wrong = 0
    for text in assertions:
        try:
            exec(text, {**globals(), "outputs_of_the_program": outputs})
        except Exception:
            wrong += 1
    return f"{wrong} of {len(assertions)} tests fail" if wrong else ""
"""

# a program with a failed call is wrong without running the assertions
_CHECK = """
def check_outcomes(evidence, outcomes):
    failed = outcomes.failed()
    if failed:
        return [False, False, failed.status, failed.reason]
    reason = replay(evidence, [outcome.value for outcome in outcomes])
    return [not reason, not reason, "ok", reason]
"""


def prepare_humaneval(records: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Records the calls that each problem's tests make, by running them on the reference solution in the sandbox."""
    checkers = [f"{reference(record)}\n{record['test']}\n{_RECORDER}" for record in records]
    recordings = run_references(
        [
            Program(checker, "record", ((record["entry_point"],),), limits=GENEROUS)
            for record, checker in zip(records, checkers, strict=True)
        ]
    )
    problems = []
    for record, checker, recording in zip(records, checkers, recordings, strict=True):
        (outcome,) = recording.outcomes
        calls = tuple(outcome.value) if outcome.status == "ok" else ()
        trouble = f"the reference fails its tests: {outcome.reason}" if not calls else ""
        problems.append(
            Problem(
                task_id=record["task_id"],
                entry=record["entry_point"],
                calls=calls,
                limits=LIMITS,
                check=Check(checker + _CHECK, (list(calls),), limits=_CHECKING),
                trouble=trouble,
            )
        )
    return problems


def prepare_mbpp(records: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Cuts the calls out of each problem's assertions. Runs nothing."""
    return [_prepare_mbpp(record) for record in records]


def _prepare_mbpp(record: Mapping[str, Any]) -> Problem:
    entry, setup = entry_of(record), record["test_setup_code"]
    cutter, assertions, trouble = _Cutter(entry), [], ""
    for text in record["test_list"]:
        before = len(cutter.calls)
        assertions.append(ast.unparse(cutter.visit(_parse(text))))
        if len(cutter.calls) == before:
            trouble = f"an assertion does not call {entry}: {text[:80]}"
    checker = f"{reference(record)}\n{setup}\n{_ASSERTER}"
    return Problem(
        task_id=str(record["task_id"]),
        entry=entry,
        calls=tuple(cutter.calls),
        limits=LIMITS,
        setup=setup,
        check=Check(checker + _CHECK, (assertions,), limits=_CHECKING),
        trouble=trouble,
    )


def entry_of(record: Mapping[str, Any]) -> str:
    """The function of MBPP's reference solution that the first assertion calls. "" where it calls none."""
    defined = {node.name for node in ast.walk(_parse(record["code"])) if isinstance(node, ast.FunctionDef)}
    called = [
        node.func.id
        for node in ast.walk(_parse(record["test_list"][0]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    return next((name for name in called if name in defined), "")


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the benchmark's own strings have invalid escapes
        return ast.parse(text)


class _Cutter(ast.NodeTransformer):
    """Replaces the calls of a function in expressions by its outputs, and collects the calls."""

    def __init__(self, entry: str) -> None:
        self.entry = entry
        self.calls: list[str] = []

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Replaces the outermost call. Its arguments stay as they are, and may call the function again."""
        if not isinstance(node.func, ast.Name) or node.func.id != self.entry:
            return self.generic_visit(node)
        self.calls.append(ast.unparse(node))
        return ast.parse(f"outputs_of_the_program[{len(self.calls) - 1}]", mode="eval").body
