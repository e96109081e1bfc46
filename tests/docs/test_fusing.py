"""docs/fusing.md: its keys, losses and figures are those of the code and of the reports, and its blocks work."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet
from pydantic import BaseModel

from gldbench.data.config import Decontamination, FailedBy, Preparation, load_preparation
from gldfusion.examples import load_examples, read_examples
from gldfusion.fuse import fuse
from gldfusion.losses import LOSSES
from gldfusion.recipe import DataPart, Lora, Recipe, SourceSpec, TermSpec, TrainSpec, load_recipe

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
        ("### Adapters", Lora),
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


def test_every_record_is_read(section: Any, blocks: Any, tmp_path: Path) -> None:
    lines = [block.text for block in blocks(section(PAGE, "### Records"))]
    (tmp_path / "data.jsonl").write_text("".join(lines))
    plain, conversation, tools, sharegpt, named = read_examples(tmp_path / "data.jsonl")
    assert (plain.prompt, plain.response) == ("What is 2 plus 3?", "5")
    assert (len(conversation.history), conversation.response) == (1, "Right.")
    assert [message["role"] for message in tools.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert tools.replies == ["It is 5."]
    assert sharegpt.key == plain.key
    assert named.id == "sums/17"


def test_a_recipe_for_each_form_of_data_runs(
    section: Any, blocks: Any, fused: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").symlink_to(fused / "models")
    records = [json.loads(block.text) for block in blocks(section(PAGE, "### Records"))]
    rows = [
        {"prompt": record["prompt"], "response": record["response"]} for record in records if "prompt" in record
    ] * 3
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data.parquet")
    asked = []

    def load(*arguments: Any, **named: Any) -> datasets.Dataset:
        asked.append((arguments, named))
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    recipes = {block.file: block.text for block in blocks(section(PAGE, "### Files, the hub and mixtures"))}
    assert list(recipes) == ["lines.yaml", "table.yaml", "hub.yaml", "mixture.yaml"]
    sizes = []
    for name, text in recipes.items():
        (tmp_path / name).write_text(text)
        recipe = load_recipe(tmp_path / name)
        sizes.append(len(load_examples(recipe.data, recipe.data_seed)))
        fuse(recipe, tmp_path / f"fused-{name}")
    assert sizes == [6, 6, 6, 9]
    assert asked[0] == (("owner/name", "default"), {"split": "train", "revision": "0123456789abcdef"})


def test_every_key_of_a_part_is_explained(section: Any) -> None:
    assert first_column(section(PAGE, "### Files, the hub and mixtures")) == list(DataPart.model_fields)
    assert first_column(section(PAGE, "### Preparing a mixture")) == list(Preparation.model_fields)


def test_the_configuration_of_the_papers_mixture(section: Any, blocks: Any, tmp_path: Path) -> None:
    text = section(PAGE, "### Preparing a mixture")
    (block,) = blocks(text)
    (tmp_path / block.file).write_text(block.text)
    settings = load_preparation(tmp_path / block.file)
    assert [part.take for part in settings.parts] == [52_000, 39_000, 39_000]
    assert settings.decontaminate == Decontamination()
    code = settings.parts[2].failed_by
    assert code is not None
    assert code.model_copy(update={"checkpoint": Path("x")}) == FailedBy(checkpoint=Path("x"))
    for value in ("(13)", "(`paper11`)", "(8)", "(5)", "(1)", "(2048)"):
        assert value in text
    assert set(FailedBy.model_fields) | set(Decontamination.model_fields) <= set(re.findall(r"`(\w+)`", text))


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
