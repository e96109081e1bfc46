"""docs/fusing.md: its keys, losses and figures are those of the code and of the reports, and its blocks work."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gldfusion.data import read_examples
from gldfusion.losses import LOSSES
from gldfusion.recipe import Recipe, SourceSpec, TermSpec, TrainSpec, load_recipe

PAGE = "docs/fusing.md"
ROOT = Path(__file__).resolve().parents[2]


def first_column(table: str) -> list[str]:
    """The names between backticks in the first cell of each row."""
    return re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("### The recipe", Recipe),
        ("### A source", SourceSpec),
        ("### A term", TermSpec),
        ("### train", TrainSpec),
    ],
)
def test_every_key_is_explained(heading: str, model: type[BaseModel], section: Any) -> None:
    rows = [row.split("|")[1:4] for row in section(PAGE, heading).splitlines() if row.startswith("| `")]
    given = {key.strip(" `"): default.strip() for key, default, _ in rows}
    fields = {str(field.validation_alias or name): field for name, field in model.model_fields.items()}
    assert list(given) == list(fields)
    for name, field in fields.items():
        assert (given[name] == "required") == field.is_required(), name
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert float(given[name]) == field.default, name


def test_every_loss_is_named(section: Any) -> None:
    assert sorted(first_column(section(PAGE, "## Losses"))) == sorted(LOSSES)


def test_the_recipe_is_valid(section: Any, blocks: Any, tmp_path: Path) -> None:
    (block,) = blocks(section(PAGE, "## A recipe"))
    path = tmp_path / block.file
    path.write_text(block.text)
    assert [term.loss for term in load_recipe(path).terms] == ["uld", "gld"]


def test_every_line_of_data_is_read(section: Any, blocks: Any, tmp_path: Path) -> None:
    lines = [block.text for block in blocks(section(PAGE, "## Data"))]
    (tmp_path / "data.jsonl").write_text("".join(lines))
    plain, conversation, named = read_examples(tmp_path / "data.jsonl")
    assert (plain.prompt, plain.response) == ("What is 2 plus 3?", "5")
    assert (len(conversation.history), conversation.response) == (1, "Right.")
    assert named.id == "sums/17"


def report_rows(path: str) -> list[dict[str, str]]:
    with (ROOT / "reports" / path).open() as file:
        return list(csv.DictReader(file))


def test_figures_are_those_of_the_reports(section: Any) -> None:
    text = section(PAGE, "## What it costs")
    cache = {
        r["subject"]: float(r["value"]) for r in report_rows("cache/bench_cache.csv") if "per_token" in r["metric"]
    }
    for shown, stored in zip(re.findall(r"^\| values.*?\| ([\d.]+) ", text, re.MULTILINE), cache.values(), strict=True):
        assert float(shown) == pytest.approx(stored, abs=0.05)
    peaks = {
        row["subject"]: float(row["value"]) / 2**20
        for row in report_rows("kernels/bench_ce.cpu.csv")
        if row["metric"] == "peak_beyond_gradients" and row["value"]
    }
    assert f"took {peaks['chunked']:.0f} MiB" in text
    assert f"instead of {peaks['dense']:,.0f} MiB" in text
    report = (ROOT / "reports/tiny/report.md").read_text()
    for method, shown in zip(("sft", "sft+uld", "sft+uld+gld"), re.findall(r"\| (\d+) \| (\d+) \|", text), strict=True):
        assert re.search(rf"^\| {re.escape(method)} \| {shown[0]} s.*? \| {shown[1]} MiB", report, re.MULTILINE), method


def test_the_checkpoint_holds_what_the_page_lists(fused: Path, section: Any) -> None:
    rows = [row.split("|")[1] for row in section(PAGE, "## The fused checkpoint").splitlines() if row.startswith("| `")]
    listed = {name for cell in rows for name in re.findall(r"`([^`]+)`", cell)}
    assert listed == {path.name for path in (fused / "fused").iterdir()}


def test_fuse_and_load_from_python(fused: Path, section: Any, blocks: Any, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("data.jsonl", "recipe.yaml"):
        shutil.copy(fused / name, tmp_path)
    for name in ("models", "cache"):
        (tmp_path / name).symlink_to(fused / name)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("steps: 150", "steps: 2"))
    monkeypatch.chdir(tmp_path)
    load, fuse = (block.text for block in blocks(section(PAGE, "## The fused checkpoint")))
    exec(fuse, {})
    exec(load, {})
    assert json.loads((tmp_path / "fused" / "training_totals.json").read_text())["tokens"] > 0
