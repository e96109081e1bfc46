"""docs/architecture.md: every path and module in it exists, and its layers are those that import-linter checks."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

PAGE = "docs/architecture.md"
ROOT = Path(__file__).resolve().parents[2]


def named() -> set[str]:
    """Everything between backticks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", (ROOT / PAGE).read_text(), flags=re.DOTALL)))


def test_every_path_exists() -> None:
    paths = {name for name in named() if re.match(r"(gldbench|reference|tasks|tests|docs)/", name)}
    assert len(paths) > 30
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_module_and_dictionary_exists() -> None:
    names = {name for name in named() if re.fullmatch(r"(gldbench|gldfusion)(\.\w+)+", name)}
    for name in sorted(names):
        module, _, attribute = name.rpartition(".")
        if attribute.isupper():
            assert isinstance(getattr(importlib.import_module(module), attribute), dict), name
        else:
            importlib.import_module(name)


def test_the_packages_in_the_picture_exist(section: Any, blocks: Any) -> None:
    (picture,) = blocks(section(PAGE, "## The house in one picture"))
    for node in re.findall(r'^ .*?(\w+)[\[(]+"\1', picture.text, re.MULTILINE):
        assert (ROOT / "gldbench" / node).exists() or (ROOT / "gldbench" / f"{node}.py").exists() or node == "gldfusion"


def test_the_layers_are_those_of_import_linter(section: Any, blocks: Any) -> None:
    (shown,) = blocks(section(PAGE, "## Who may import whom"))
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert shown.text.splitlines() == contracts[0]["layers"]
