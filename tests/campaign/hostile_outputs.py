"""Outputs that try to abort a run, to spoil the rows of other items, or to be counted as right.

They come in addition to the programs of tests/gldbench/sandbox/hostile. Each defines f(x), which should return x + 1.
"""

from __future__ import annotations

from pathlib import Path

FENCE = "```python\n{}\n```"


def _read(name: str) -> dict[str, str]:
    """The programs of a file beside this one, by name."""
    parts = (Path(__file__).parent / name).read_text(encoding="utf-8").split("\n### ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


GOOD = _read("right_programs.txt")
"""name -> a program that is right"""
PROGRAMS = _read("hostile_programs.txt")
"""name -> a program that attacks"""
TEXTS: dict[str, str] = {
    "unmatched_parentheses": FENCE.format("def f(x):\n    return " + "(" * 15_000),
    "unmatched_without_fence": "def f(x):\n    return " + "([{" * 5_000,
    "continued_lines": "def f(x):\n    return x + \\\n" + "1 + \\\n" * 20_000,
    "many_fences": "```python\n" * 5_000,
    "many_definitions": "def f(x): return x\n" * 20_000,
    "deep_blocks": "def f(x):\n" + "".join(" " * n + "if x:\n" for n in range(1, 2_000)) + " " * 2_001 + "pass",
    "deep_expression": FENCE.format("def f(x):\n    return " + "-" * 50_000 + "x"),
    "long_line": FENCE.format("def f(x):\n    return x" + " + 0" * 100_000),
    "long_text": "f(x) " * 200_000,
    "strings_without_end": '"""' * 9_999,
    "nulls": FENCE.format("def f(x):\n    return x\0 + 2"),
    "surrogates": FENCE.format("def f(x):\n    return '\ud800'"),
    "carriage_returns": FENCE.format("def f(x):\r    return x\r"),
    "tabs": "\t" * 50_000 + "def f(x):\n\treturn x",
    "numbers": FENCE.format("def f(x):\n    return " + "9" * 20_000),
    "decorators": "@f\n" * 10_000 + "def f(x): return x",
    "formats": FENCE.format("def f(x):\n    return " + "f'{" * 200),
    "indented_fence": "1. So:\n   ```python\n   def f(x):\n       return x\n   ```",
}
"""name -> whole output, most of them no program at all"""
