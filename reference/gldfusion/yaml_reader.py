"""Reads YAML that may be damaged or hostile: plain values only, in bounded memory and time.

YAML can name an earlier value again (`*alias`), so that a file of some hundred bytes stands for billions of values, or
for a value that contains itself. It can also name types (`!!int`), whose conversions fail in many ways. Here aliases
count as often as they are used, types cannot be named, and dates stay texts.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gldfusion.errors import InputError
from gldfusion.reading import one_line, plain_line, read_text, shown

LARGEST = 128 * 1024
"""largest file, in characters; it also bounds all texts of a file together, counted as often as they are used"""
MOST_NODES = 10_000
"""largest number of values in a file, counted as often as they are used"""
DEEPEST = 50
"""largest number of lists and mappings inside each other"""
MOST_DIGITS = 100
"""longest number, in characters"""

_PLAIN_TYPES = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}


class _Problem(yaml.MarkedYAMLError):
    """Something that this reader refuses, with its place in the file."""

    def __init__(self, problem: str, node: yaml.Node | yaml.Event) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader within the limits of this module."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._made: dict[int, tuple[int, int]] = {}
        """id of a node -> (number of values, number of characters) in it, counted as often as they are used"""
        self._used = [0, 0]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Composes one value and counts it."""
        event: Any = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        if self._depth >= DEEPEST:
            raise _Problem(f"it has more than {DEEPEST} levels of lists and mappings", event)
        if not is_alias and event.tag is not None and event.tag not in ("!",):
            raise _Problem(f"it names a type ({shown(event.tag)}): write the value without it", event)
        before = tuple(self._used)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if is_alias:
            if id(node) not in self._made:
                raise _Problem(f"the value *{event.anchor} contains itself", event)
            self._count(*self._made[id(node)], event)
        else:
            self._count(1, len(node.value) if isinstance(node, yaml.ScalarNode) else 0, event)
            self._made[id(node)] = self._used[0] - before[0], self._used[1] - before[1]
        return node

    def _count(self, values: int, characters: int, event: yaml.Event) -> None:
        self._used[0] += values
        self._used[1] += characters
        if self._used[0] > MOST_NODES or self._used[1] > LARGEST:
            raise _Problem(f"it holds more than {MOST_NODES} values or {LARGEST} characters, aliases included", event)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Makes the value of a node. What a conversion of PyYAML cannot take is an error with a place."""
        if isinstance(node, yaml.ScalarNode) and any("\ud800" <= c <= "\udfff" for c in node.value):
            raise _Problem("it holds half of a surrogate pair, which no text can hold", node)
        number = node.tag.endswith((":int", ":float"))
        if node.tag not in _PLAIN_TYPES or (number and len(node.value) > MOST_DIGITS):
            raise _Problem(f"expected a plain value of at most {MOST_DIGITS} digits, got {shown(node.value)}", node)
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise _Problem(f"{shown(node.value)} is no usable value ({plain_line(error)})", node) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Makes a mapping, and refuses a key that is given twice."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise _Problem(f"the key {shown(key.value)} is given twice", key)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 1e-5 as a text, because it has no dot. YAML 1.2 and people read it as a number.
_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")

# Without this resolver a date is a text: no setting is a date, and 2020-99-99 would be an error.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def parse_yaml(text: str, where: str) -> Any:
    """Parses YAML into plain Python values.

    Args:
        text: the YAML.
        where: what it is, for the message.

    Raises:
        InputError: it is not YAML, or it exceeds the limits of this module.
    """
    if len(text) > LARGEST:
        raise InputError(f"{where} has {len(text)} characters, expected at most {LARGEST}\nmake the file smaller")
    try:
        return yaml.load(text, _Loader)  # a safe loader: it makes plain values only
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{where} is not valid YAML: {_explain(error)}\nmend this place of the file") from None


def _explain(error: BaseException) -> str:
    """What is wrong, and where, on one line."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark) is not None:
        words = f"{error.context}, {error.problem}" if error.context else str(error.problem)
        return f"line {mark.line + 1}, column {mark.column + 1}: {one_line(words, 200)}"
    return plain_line(error)


def read_yaml(path: Path, what: str, mend: str = "check the path") -> Any:
    """Reads and parses a YAML file.

    Args:
        path: the file.
        what: what the file should be, for the message: "recipe".
        mend: last line of the message if there is no such file: how to mend it.

    Raises:
        InputError: there is no such file, it is not valid YAML, or it exceeds the limits of this module.
    """
    return parse_yaml(read_text(path, what, mend, 4 * LARGEST), str(path))
