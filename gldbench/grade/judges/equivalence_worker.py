"""The process that reads LaTeX for `equivalence.py`, which runs this file as a script. It imports nothing of gldbench.

Each line of standard input is a JSON request, and each line of standard output is the answer to one:

    ["equal", [[gold, answer], ...]]  ->  true where any pair is equivalent, else false
    ["values", [text, ...]]           ->  for each text the list of numbers in it, or null

math-verify's grammar of LaTeX turns texts into sympy expressions. No text is evaluated as Python. The argument of the
script is the CPU time in seconds that a request may take. A request that takes more ends the process by SIGPROF.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any

MEMORY = 2 * 2**30
"""bytes of address space; the short text 9^{9^{9^9}} would take all memory"""


def main() -> None:
    """Answers requests until standard input ends."""
    seconds = float(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    _import()
    os.dup2(sink, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print("ready", file=replies)
    for line in sys.stdin:
        kind, content = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = _equal(content) if kind == "equal" else [_value_or_none(text) for text in content]
        except (
            Exception,
            RecursionError,
            MemoryError,
        ) as error:  # the grammar and the computer algebra may raise anything
            answer = {"error": type(error).__name__}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), file=replies)


def _import() -> None:
    import math_verify  # noqa: F401
    import sympy  # noqa: F401


def _parse(text: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    # Only LaTeX between dollars is read: math-verify's other extractor takes any number out of a text that does not
    # parse. Its time limit is off: it is a signal, which does not interrupt a long multiplication of integers. The
    # parent process kills this one instead.
    config = [LatexExtractionConfig(boxed_match_priority=-1)]
    return parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)  # type: ignore[arg-type]


def _equal(pairs: list[list[str]]) -> bool:
    from math_verify import verify

    for gold, answer in pairs:
        parsed = _parse(gold), _parse(answer)
        if all(parsed) and verify(*parsed, allow_set_relation_comp=True, timeout_seconds=None):
            return not _differ(*(part[0] for part in parsed))
    return False


def _differ(gold: Any, answer: Any) -> bool:
    """Whether two numbers differ in their first six significant digits.

    math-verify rounds to six decimals, so that 1/2004! equals 1/2006! and 1e-20 equals 1e-25.
    """
    import sympy

    if not (isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr) and gold.is_number and answer.is_number):
        return False
    first, second = sympy.N(gold, 20), sympy.N(answer, 20)
    return first != second and any(
        sympy.N(a, 6) != sympy.N(b, 6) for a, b in zip(first.as_real_imag(), second.as_real_imag(), strict=True)
    )


def _value_or_none(text: str) -> list[float] | None:
    """The numbers of one text. What the computer algebra cannot read states none."""
    try:
        return _value(text) if text else None
    except (Exception, RecursionError, MemoryError):  # the grammar and the computer algebra may raise anything
        return None


def _value(text: str) -> list[float] | None:
    parsed = _parse(text)
    return _numbers(parsed[0]) if parsed else None


def _numbers(expression: Any) -> list[float] | None:
    """The values of a number, a tuple, a finite set or a matrix. Of an equation, those of its right side."""
    import sympy
    from sympy.core.relational import Relational

    if isinstance(expression, Relational):
        return _numbers(expression.rhs)
    if isinstance(expression, sympy.MatrixBase | sympy.Tuple | sympy.FiniteSet):
        members = expression.flat() if isinstance(expression, sympy.MatrixBase) else expression.args
        values = [_numbers(member) for member in members]
        return [value for part in values if part for value in part] if all(values) else None
    value = complex(sympy.N(expression))
    return [value.real] if abs(value.imag) <= 1e-12 * max(1.0, abs(value.real)) else None


if __name__ == "__main__":
    main()
