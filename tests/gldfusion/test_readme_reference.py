"""What reference/README.md shows must work, and everything that it names must exist."""

from __future__ import annotations

import ast
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gldfusion.cache.columns import needed_columns
from gldfusion.errors import InputError
from gldfusion.losses import LOSSES, describe, make_loss
from gldfusion.signals import PivotSignal, Signal

TESTS = Path(__file__).parent
README = TESTS.parents[1] / "reference" / "README.md"


def table(heading: str) -> list[list[str]]:
    """The cells of the rows of the first table below a heading, without its header."""
    section = README.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [row for row in rows[1:] if not row[0].startswith("---")]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


FUNCTIONS = [name for row in table("Equation -> function -> test") for name in code(row[1])]
NAMED_TESTS = [
    names for heading in ("Equation -> function -> test", "Traps") for row in table(heading) if (names := code(row[-1]))
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_exists(name: str) -> None:
    if "triton" in name:
        pytest.importorskip("triton")
    pkgutil.resolve_name(f"gldfusion.{name.partition('(')[0]}")


@pytest.mark.parametrize("names", NAMED_TESTS, ids=lambda names: names[0])
def test_every_test_exists(names: list[str]) -> None:
    file = ""
    for name in names:
        path, _, function = name.partition("::")
        file = path or file
        tree = ast.parse((TESTS / file).read_text())
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or function in defined, name


def example() -> Any:
    """The class of the example, run in an empty namespace and without the `__future__` import of this file."""
    source = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(compile(source, "top_one.py", "exec", dont_inherit=True), names)
    return names["TopOne"]


def signal(values: Tensor, mask: Tensor, lse: Tensor) -> Signal:
    return Signal(values=values, mask=mask, lse=lse)


def test_the_example_of_a_loss_runs_as_printed() -> None:
    loss = example()()
    values = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).sort(-1, descending=True).values
    mask = torch.tensor([[True, True, True], [True, False, False]])
    lse = values.logsumexp(-1)
    pivot = PivotSignal(values=values, mask=mask, lse=lse, nll=torch.zeros(2, 3))
    pairs = torch.tensor([[[0, 0], [1, 1], [2, 2]], [[0, 0], [-1, -1], [-1, -1]]])
    assert loss(pivot, signal(values, mask, lse), pairs) == 0
    assert loss(pivot, signal(values, mask, lse + 1), pairs).item() == pytest.approx(4)
    assert example()(scale=2.0)(pivot, signal(values, mask, lse + 1), pairs).item() == pytest.approx(16)
    assert loss.count(mask, mask, pairs) == 4
    with pytest.raises(InputError, match=r"top_one\.scale must be a positive number"):
        example()(scale=0)


def test_the_example_explains_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "top_one", example())
    found = describe.describe()[-1]
    assert found.name == "top_one"
    assert found.summary
    assert [(option.name, option.type, option.default) for option in found.options] == [("scale", "float", 1.0)]
    assert found.options[0].meaning


def test_the_table_of_losses_says_what_each_reads() -> None:
    rows = {code(row[0])[0]: row for row in table("Losses") if len(row) == 4}
    assert list(rows) == list(LOSSES)
    for name, row in rows.items():
        columns = needed_columns(make_loss(name).needs)
        read = [] if row[3] == "nothing" else row[3].split(", ")
        assert [column for column in read if column != "values"] == list(columns), name
        arxiv = re.findall(r"arXiv (\d{4}\.\d{5})", row[1])
        assert all(number in LOSSES[name].citation for number in arxiv), name
