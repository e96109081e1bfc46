"""docs/methods.md: every kind and option of a method is there, with its source, and the printed specs are accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gldbench.methods import METHODS, check_methods, merge
from gldbench.spec import load_spec

PAGE = "docs/methods.md"
ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "tests" / "gldbench" / "mini.yaml"


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the first table in a text, by the name in backticks in the first cell."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip("` "): cells[1:] for cells in lines}


def test_every_kind_is_there_with_the_source_that_its_file_names() -> None:
    found = rows((ROOT / PAGE).read_text().partition("## Specialists")[0])
    assert found.keys() == METHODS.keys()
    for kind, cells in found.items():
        if kind != "train":
            module = __import__(METHODS[kind].make.__module__, fromlist=["METHOD"])
            assert cells[-1].rpartition("arXiv:")[2] in str(module.__doc__), kind


@pytest.mark.parametrize("kind", [kind for kind, method in METHODS.items() if method.options.model_fields])
def test_every_option_is_there_with_its_default(section: Any, kind: str) -> None:
    found = rows(section(PAGE, f"### {kind}"))
    fields = METHODS[kind].options.model_fields
    assert found.keys() == fields.keys()
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            assert found[name][0] == "required"
        elif isinstance(default, bool):
            assert found[name][0] == str(default).lower()
        elif isinstance(default, int | float | str):
            assert type(default)(found[name][0].strip("`")) == default


def test_the_printed_spec_is_accepted(section: Any, blocks: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(merge, "find_spec", lambda name: name)  # it need not be installed here
    (specialists,) = blocks(section(PAGE, "## Specialists"))
    (methods,) = blocks(section(PAGE, "## A spec with every kind"))
    before, _, rest = MINI.read_text().partition("\nmethods:")
    indented = "".join(f"  {line}\n" for line in specialists.text.splitlines())
    path = tmp_path / "spec.yaml"
    path.write_text(f"{before}\n{indented}{methods.text}{rest[rest.index('fusion:') :]}")
    spec = load_spec(str(path))
    check_methods(spec)
    assert {method.kind for method in spec.methods.values()} == METHODS.keys()
