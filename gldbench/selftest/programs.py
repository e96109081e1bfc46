"""Cases for HumanEval, MBPP and their "+" forms: the reference solution, and programs that fail."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gldbench.schema import Item, Task
from gldbench.selftest.cases import CODE, EMPTY, Case, garbage, made

GUESSED = 2
"""only so many items get garbage and adversarial texts, because each program needs a process"""

_OFF_BY_ONE = '''

_reference = {entry}


def {entry}(*args, **kwargs):
    """The reference's result, off by one."""
    result = _reference(*args, **kwargs)
    if isinstance(result, bool):
        return not result
    if isinstance(result, (int, float, complex)):
        return result + 1
    if isinstance(result, str):
        return result + "x"
    if isinstance(result, (list, tuple)):
        return result + type(result)([1])
    return 1
'''


def whole(item: Item) -> str:
    """The reference solution as a complete program."""
    if f"def {item.entry}(" in item.target.replace(" (", "("):
        return item.target.replace("\r\n", "\n").strip("\n") + "\n"
    return f"{item.record['prompt']}{item.target}"


class _Renamed(ast.NodeTransformer):
    """Gives the function `entry` the name "solve"."""

    def __init__(self, entry: str) -> None:
        self.entry = entry

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Renames the definition."""
        node.name = "solve" if node.name == self.entry else node.name
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Renames a use."""
        node.id = "solve" if node.id == self.entry else node.id
        return node


def _with_helper(program: str, entry: str) -> str:
    """The solution as a helper in a second fence. The function that is asked for calls it."""
    helper = ast.unparse(_Renamed(entry).visit(ast.parse(program)))
    return (
        f"Here is the function:\n\n```python\ndef {entry}(*args):\n    return solve(*args)\n```\n\nIt needs a helper:"
        f"\n\n```python\n{helper}\n```"
    )


def _with_examples(program: str, entry: str) -> str:
    """The solution in a fence, between a docstring with a fence and examples that are wrong or wait for input."""
    return (
        f"<think>```python\ndef {entry}(*args):\n    return None\n```</think>\n```python\n"
        f'"""The solution.\n\n```\n{entry}()\n```\n"""\n{program}\n\nassert {entry}() == "no", "an example"\n'
        f"print({entry}(input()))\n```\n"
    )


def cases(task: Task, items: Sequence[Item]) -> list[Case]:
    """The reference solution in several forms, with its results off by one, and that of another problem."""
    found: list[Case] = []
    for item, other in zip(items, [*items[1:], items[0]], strict=True):
        program = whole(item)
        wrong = program + _OFF_BY_ONE.format(entry=item.entry)
        found += made("gold", item, [item.target])
        found += made(
            "paraphrase",
            item,
            [
                f"Here is the function:\n\n```python\n{program}```\n\nIt runs in linear time.",
                f"[BEGIN]\n{program}[DONE]\nThat is all." if "test_list" in item.record else program,
                _with_helper(program, item.entry),
                _with_examples(program, item.entry),
            ],
        )
        found += made(
            "near_miss",
            item,
            [f"The first try:\n```python\n{program}```\nBetter:\n```python\n{wrong}```"],
        )
        found += made("other", item, [f"```python\n{whole(other)}```"]) + made("empty", item, EMPTY[:1])
    for item in items[:GUESSED]:
        stub = f"def {item.entry}(*args, **kwargs):\n    "
        found += made("garbage", item, garbage(item))
        found += made(
            "adversarial",
            item,
            [*CODE, f"{stub}pass\n", f"{stub}raise SystemExit(0)\n"],
        )
    return found
