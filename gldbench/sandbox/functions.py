"""Runs small functions that models wrote, and compares what they return with expected JSON values.

A function writes its results as JSON texts. They are compared with the expected texts byte by byte, so that nothing
that it wrote is decoded here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gldbench.sandbox.execute import Program, run_programs
from gldbench.sandbox.plain import Outcome
from gldbench.sandbox.process import Limits

MAX_SOURCE = 4_000
"""characters; a longer function is refused"""
LIMITS = Limits(cpu_seconds=2, wall_seconds=20, memory_mb=256, output_bytes=2**16)

# The function runs in a module of its own. What it returns leaves as the text that JSON has for it: 1, 1.0 and true are
# different texts, and a tuple has the text of a list.
_LOADER = """
import _ast, json
class NotOneFunctionError(Exception): pass
class OtherNameError(Exception): pass
def load(source, entry):
    body = compile(source, "function", "exec", _ast.PyCF_ONLY_AST).body
    if len(body) != 1 or not isinstance(body[0], (_ast.Expr, _ast.FunctionDef)):
        raise NotOneFunctionError
    if isinstance(body[0], _ast.FunctionDef) and body[0].name != entry:
        raise OtherNameError
    names = {}
    if isinstance(body[0], _ast.Expr):
        return eval(compile(_ast.Expression(body[0].value), "function", "eval"), names)
    exec(source, names)
    return names[entry]
"""


@dataclass(frozen=True)
class Function:
    """A function, and the tests that it has to pass."""

    source: str
    """one expression (a lambda) or one `def`"""
    entry: str
    """the name in the `def`; not used for an expression"""
    tests: tuple[tuple[Any, Any], ...]
    """(the only argument of a call, expected result), both JSON values"""


def run_functions(functions: Sequence[Function]) -> list[Outcome]:
    """Tests each function in a process of its own, with `run_programs`.

    Args:
        functions: the functions. Whatever is not one expression or one `def` with the right name is an error.

    Returns:
        For each function an outcome. "ok" means that all calls returned JSON values; its value is then the number of
        tests that fail.

    Raises:
        InputError: there is no sandbox, and running without one was not allowed.
    """
    short = [function for function in functions if len(function.source) <= MAX_SOURCE]
    results = iter(run_programs([_program(function) for function in short]))
    outcomes = []
    for function in functions:
        if len(function.source) > MAX_SOURCE:
            outcomes.append(Outcome("error", reason=f"the function is longer than {MAX_SOURCE} characters"))
            continue
        result = next(results)
        expected = [json.dumps(["ok", json.dumps(value)]).encode() for _, value in function.tests]
        wrong = sum(line != wanted for line, wanted in zip(result.lines(), expected, strict=False))
        outcomes.append(result.failed() or Outcome("ok", wrong))
    return outcomes


def _program(function: Function) -> Program:
    define = f"loaded = load({function.source!r}, {function.entry!r})"
    call = "def call(value):\n    return json.dumps(loaded(value), allow_nan=False)\n"
    inputs = tuple((value,) for value, _ in function.tests)
    return Program(f"{_LOADER}{define}\n{call}", "call", inputs, limits=LIMITS)
