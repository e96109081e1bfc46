"""Makes a program that can run out of the one that a model wrote.

EvalPlus' sanitizer keeps the imports and the definitions that the function needs, and nothing else
(`evalplus/sanitize.py`, version 0.3.1). Here only what can do harm is removed: examples that call the function,
assertions, and what prints or reads. Statements that prepare data stay.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Iterable, Sequence

_SPEAKING = frozenset({"print", "input"})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_ROUNDS = 8
"""so many times other texts are searched for names, because what was found there may need further names"""


def parsed(text: str) -> ast.Module | int:
    """The syntax tree, or the line of the first error (1 where Python does not name it)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in strings do not matter here
            return ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return 1


def defines(text: str, entry: str) -> bool:
    """Whether the text is Python that defines, assigns or imports the name `entry`."""
    tree = parsed(text)
    return isinstance(tree, ast.Module) and entry in _given(tree)


def assemble(program: str, entry: str, others: Sequence[str] = ()) -> str:
    """The program without examples, preceded by the imports and definitions that it lacks.

    Args:
        program: Python that defines `entry`.
        entry: name of the function that will be called.
        others: other programs of the same output. Definitions of names that the program lacks are taken from them.
    """
    tree = parsed(program)
    if not isinstance(tree, ast.Module):
        return program
    examples = _examples(tree, entry)
    kept = {line for node in tree.body if node not in examples for line in _lines(node)}
    dropped = {line for node in examples for line in _lines(node)} - kept  # `x = 1; f(x)` stays
    lines = program.split("\n")
    text = "\n".join(line for number, line in enumerate(lines, start=1) if number not in dropped)
    before = [*_late_imports(tree), *_lacking(text, others)]
    return _preceded(text, [line for line in before if "__future__" not in line])


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _preceded(text: str, parts: Sequence[str]) -> str:
    """The text after the parts, but its `from __future__` stays in front of them."""
    tree = parsed(text)
    future = [n for n in getattr(tree, "body", ()) if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    lines = text.split("\n")
    end = max((_lines(node)[-1] for node in future), default=0)
    return "\n".join([*lines[:end], *parts, *lines[end:]])


def _given(tree: ast.AST) -> set[str]:
    """The names that are defined, assigned or imported anywhere in the tree."""
    names = set()
    for node in ast.walk(tree):  # also under `if` and `try`
        if isinstance(node, _DEFINITIONS):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
    return names


def _bound(tree: ast.AST) -> set[str]:
    """The names that have a value anywhere in the tree: those given, arguments and caught exceptions."""
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    caught = {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
    return _given(tree) | arguments | caught


def _used(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _own_names(statement: ast.stmt) -> set[str]:
    """The names that a statement of the module gives to the module."""
    if isinstance(statement, _DEFINITIONS):
        return {statement.name}
    if isinstance(statement, _IMPORTS):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    return _given(statement)


def _closure(start: Iterable[str], leads: Iterable[tuple[set[str], set[str]]]) -> set[str]:
    """The names that can be reached: (names, names that each of them leads to)."""
    found, pairs = set(start), list(leads)
    while True:
        new = {name for sources, targets in pairs if sources & found for name in targets} - found
        if not new:
            return found
        found |= new


def _examples(tree: ast.Module, entry: str) -> list[ast.stmt]:
    """The statements of the module that only try out the function, or that print, read or assert."""
    definitions = [(_own_names(node), _used(node)) for node in tree.body]
    needed = _closure({entry}, definitions)
    callers = _closure(
        {entry, *_SPEAKING},
        [(used, names) for node, (names, used) in zip(tree.body, definitions, strict=True) if names - needed],
    )
    examples: list[ast.stmt] = []
    for node, (names, used) in zip(tree.body, definitions, strict=True):
        if isinstance(node, (*_DEFINITIONS, *_IMPORTS)):
            continue
        if isinstance(node, ast.Assert) or (not names & needed and used & callers):
            examples.append(node)
    return examples


def _late_imports(tree: ast.Module) -> list[str]:
    """Imports that stand after a definition which may need them, as lines."""
    defined = [place for place, node in enumerate(tree.body) if not isinstance(node, (*_IMPORTS, ast.Expr))]
    first = min(defined, default=len(tree.body))
    return [ast.unparse(node) for node in tree.body[first:] if isinstance(node, _IMPORTS)]


def _lacking(text: str, others: Sequence[str]) -> list[str]:
    """The imports and definitions of other programs that define names which the text uses and does not define."""
    trees = [tree for tree in map(parsed, others) if isinstance(tree, ast.Module)]
    statements = [
        node
        for tree in trees
        for node in tree.body
        if isinstance(node, (*_DEFINITIONS, *_IMPORTS, ast.Assign, ast.AnnAssign))
    ]
    parts: list[str] = []
    for _ in range(_ROUNDS):
        tree = parsed("\n".join([*parts, text]))
        if not isinstance(tree, ast.Module):
            return []
        missing = _used(tree) - _bound(tree) - set(dir(builtins))
        new = []
        for node in statements:
            if _own_names(node) & missing:
                missing -= _own_names(node)
                new.append(ast.unparse(node))
        if not new:
            break
        parts = [*new, *parts]
    return parts
