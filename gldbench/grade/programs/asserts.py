"""HumanEval and MBPP: the benchmark's own assertions, judged in another process than the program's.

The program's process makes the calls that the assertions make and emits what they return. The assertions, with the
values they expect, run in a second sandbox, on these plain outputs: what is compared there cannot be a program's
object, and what the program can find in its memory is its own input. For HumanEval the calls are recorded by running
the tests on the reference; for MBPP they are cut out of each assertion as source.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from gldbench.grade.programs.code_problem import Problem, Verdict, reference
from gldbench.grade.programs.references import GENEROUS, run_references
from gldbench.sandbox import Limits, Program, Result, run_programs

LIMITS = Limits(cpu_seconds=10, memory_mb=2048)
_CHECKING = Limits(cpu_seconds=20, memory_mb=4096, output_bytes=64 * 2**20)

# of HumanEval: the tests call a stand-in for the candidate, which records arguments or replays outputs. Some tests draw
# random inputs: the sandbox seeds the generator.
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

# of MBPP: assertions whose calls have been replaced by outputs
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


def prepare_humaneval(records: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Records the calls of each problem's tests, by running them on the reference in the sandbox."""
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
                record["task_id"], record["entry_point"], calls, LIMITS, checker=checker, evidence=(list(calls),),
                trouble=trouble,
            )
        )  # fmt: skip
    return problems


def prepare_mbpp(records: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Cuts the calls out of each problem's assertions; runs nothing."""
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
        str(record["task_id"]), entry, tuple(cutter.calls), LIMITS, setup=setup, checker=checker,
        evidence=(assertions,), trouble=trouble,
    )  # fmt: skip


def entry_of(record: Mapping[str, Any]) -> str:
    """The function of MBPP's reference that its first assertion calls; "" where there is none."""
    defined = {node.name for node in ast.walk(_parse(record["code"])) if isinstance(node, ast.FunctionDef)}
    called = [
        node.func.id
        for node in ast.walk(_parse(record["test_list"][0]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    return next((name for name in called if name in defined), "")


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes in the benchmark's own strings
        return ast.parse(text)


class _Cutter(ast.NodeTransformer):
    """Takes the calls of a function out of expressions and puts outputs in their place."""

    def __init__(self, entry: str) -> None:
        self.entry = entry
        self.calls: list[str] = []

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """The outermost call is what the program is asked for; its arguments may call it again."""
        if not isinstance(node.func, ast.Name) or node.func.id != self.entry:
            return self.generic_visit(node)
        self.calls.append(ast.unparse(node))
        return ast.parse(f"outputs_of_the_program[{len(self.calls) - 1}]", mode="eval").body


def judge(problems: Sequence[Problem], results: Sequence[Result]) -> list[Verdict]:
    """Runs the assertions on the outputs; programs of which a call failed need none."""
    whole = [all(outcome.status == "ok" for outcome in result.outcomes) for result in results]
    checked = iter(
        run_programs(
            [
                Program(
                    problem.checker,
                    "replay",
                    ((*problem.evidence, [outcome.value for outcome in result.outcomes]),),
                    limits=_CHECKING,
                )
                for problem, result, good in zip(problems, results, whole, strict=True)
                if good
            ]
        )
    )
    verdicts = []
    for result, good in zip(results, whole, strict=True):
        outcome = next(checked).outcomes[0] if good else next(o for o in result.outcomes if o.status != "ok")
        reason = outcome.value if outcome.status == "ok" else outcome.reason
        verdicts.append(Verdict(reason == "", reason == "", str(reason)))
    return verdicts
