"""docs/comparison.md: its specs exist, its keys are those of the spec, and its numbers are those of the code."""

from __future__ import annotations

import math
import re
from pathlib import Path

from gldbench.protocol.rules import MOST_ARMS, MOST_COMPARISONS
from gldbench.report.gate import FARTHEST, MARGIN
from gldbench.spec import SPECS, GateSpec, MethodSpec, Spec, TuningSpec, load_spec
from gldbench.stats.power import pairs_needed, power_of, spread_of_pairs

PAGE = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text()


def first_cells(heading: str) -> list[str]:
    """The backticked names in the first column of the table with this heading."""
    table = PAGE[PAGE.index(heading) :].split("\n\n")[0]
    return [name for line in table.splitlines()[2:] for name in re.findall(r"`([\w.-]+)`", line.split("|")[1])]


def test_every_spec_is_shipped_and_listed() -> None:
    shipped = {path.stem for path in SPECS.glob("compare*.yaml")}
    assert set(first_cells("| spec | what")) == shipped


def test_the_keys_are_those_of_the_spec() -> None:
    keys = first_cells("| key | meaning")
    assert {key for key in keys if "." not in key} == Spec.later
    assert set(first_cells("| key of a method")) == MethodSpec.later - {"options"}
    for name in (*TuningSpec.model_fields, *GateSpec.model_fields):
        assert f"`{name}`" in PAGE


def test_the_numbers_are_those_of_the_code() -> None:
    assert (MOST_COMPARISONS, MOST_ARMS, MARGIN, FARTHEST) == (6, 8, 0.05, 0.2)
    spread = spread_of_pairs(0.05, 350)
    assert pairs_needed(0.05, spread) == 23
    assert round(power_of(0.05, spread / math.sqrt(8), 7), 2) == 0.33


def test_the_comparison_is_as_large_as_the_page_says() -> None:
    spec = load_spec("compare")
    assert (len(spec.worlds), len(spec.fusion.seeds)) == (4, 8)
    assert len([m for m in spec.methods.values() if not m.exploratory]) == 8
    explore = load_spec("compare-explore")
    assert (len(explore.worlds), len(explore.fusion.seeds), explore.primary) == (2, 4, ())
