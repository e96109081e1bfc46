"""The solver in docs/gw.md runs as printed, and keeps the contract of SOLVERS."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gldbench.commands.gw import gw_app
from gldbench.gw.solvers import SOLVERS, Solver

GUIDE = Path(__file__).parents[3] / "docs" / "gw.md"


@pytest.fixture
def printed() -> Solver:
    """The solver that the guide's code makes in an empty namespace."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    (solver,) = (value for value in names.values() if isinstance(value, Solver))
    return solver


def test_the_solver_of_the_guide_keeps_the_contract(printed: Solver, check_solver: Callable[[Solver], int]) -> None:
    assert check_solver(printed) > 0


def test_the_solver_of_the_guide_runs_by_name(printed: Solver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOLVERS, "random_permutation", printed)
    paths = [str(tmp_path / name) for name in ("z.npy", "y.npy")]
    for seed, path in enumerate(paths):
        np.save(path, np.random.default_rng(seed).normal(size=(4, 6)))
    arguments = ["solve", *paths, "--logits", "--solvers", "random_permutation,exact", "--json"]
    document = json.loads(CliRunner().invoke(gw_app, arguments).stdout)
    assert document["other"]["random_permutation"] >= document["exact"] > 0
    assert "random_permutation" in CliRunner().invoke(gw_app, ["solvers"]).stdout


def test_the_line_of_the_guide_is_that_of_solvers() -> None:
    """The guide shows the line to add; it has the form of the lines that are there."""
    source = Path(__file__).parents[3] / "gldbench" / "gw" / "solvers" / "__init__.py"
    form = re.compile(r'^ +"(\w+)": (\w+)\.([A-Z_]+),', re.MULTILINE)
    assert [line[0] for line in form.findall(source.read_text())] == list(SOLVERS)
    assert [line[0] for line in form.findall(GUIDE.read_text(encoding="utf-8"))] == ["random_permutation"]
