"""`gldbench disagree` on stored rows and on a file of responses, and the link of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gldbench.cli import app
from gldbench.commands.report import DISAGREEMENTS, write_disagreements
from gldbench.evaluate.score import grade_file
from gldfusion.errors import InputError

ANSWERS = {
    "0": "So \\boxed{18}. I checked it 3 times.",
    "1": "**Answer**: 3",
    "2": "The answer is 7",
    "3": "540",
    "4": "no idea",
}
GOLDS = {"0": "18", "1": "3", "2": "70000", "3": "540", "4": "20"}


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    path = tmp_path / "responses.jsonl"
    path.write_text("".join(json.dumps({"item_id": name, "output": text}) + "\n" for name, text in ANSWERS.items()))
    return path


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["disagree", *map(str, arguments)])


def test_a_file_of_responses(responses: Path, benchmark_data: Path, tmp_path: Path) -> None:
    items = tmp_path / "differ.jsonl"
    done = call("gsm8k", responses, "--data", benchmark_data, "--harness", "ours,lm_eval", "--items", items, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    (pair,) = document["pairs"]
    lines = [json.loads(line) for line in items.read_text().splitlines()]
    right = {name: {one["item"] for one in lines if one["verdicts"][name]["right"]} for name in ("ours", "lm_eval")}
    assert (pair["task"], pair["n"]) == ("gsm8k", 5)
    assert {pair["a"], pair["b"]} == {"ours", "lm_eval"}
    assert pair["a_only"] == len(right[pair["a"]] - right[pair["b"]])
    assert pair["b_only"] == len(right[pair["b"]] - right[pair["a"]])
    assert pair["agreement"] == pytest.approx(1 - len(lines) / 5)
    assert document["differ"] == len(lines) > 0
    for line in lines:
        assert line["output"] == ANSWERS[line["item"]]
        assert line["gold"] == GOLDS[line["item"]]
        assert line["prompt"]
        assert line["kinds"]


def test_the_table_shows_pairs_and_kinds(responses: Path, benchmark_data: Path, tmp_path: Path) -> None:
    items = tmp_path / "differ.jsonl"
    done = call("gsm8k", responses, "--data", benchmark_data, "--harness", "ours,lm_eval", "--items", items)
    assert done.exit_code == 0, done.output
    assert "kappa" in done.output
    assert "right by" in done.output
    assert f"graders differ on {len(items.read_text().splitlines())} responses: {items}" in done.output


def test_what_cannot_be_compared_is_refused(responses: Path, benchmark_data: Path, tmp_path: Path) -> None:
    items = ("--items", tmp_path / "differ.jsonl")
    alone = call("gsm8k", responses, "--data", benchmark_data, "--harness", "ours", *items)
    nowhere = call(tmp_path / "nowhere")
    without_data = call("gsm8k", responses, *items)
    for refused, said in ((alone, "two graders are needed"), (nowhere, "no folder"), (without_data, "--data DIR")):
        assert isinstance(refused.exception, InputError)
        assert said in str(refused.exception)
    assert not (tmp_path / "differ.jsonl").exists()


def test_the_page_beside_a_report_holds_the_items_that_differ(
    responses: Path, benchmark_data: Path, tmp_path: Path
) -> None:
    graded = grade_file("gsm8k", responses, benchmark_data, ("ours", "lm_eval"))
    write_disagreements(graded.views(), tmp_path / "index.html", "tiny")
    lines = (tmp_path / DISAGREEMENTS).with_suffix(".jsonl").read_text().splitlines()
    page = (tmp_path / DISAGREEMENTS).read_text()
    shown = {json.loads(line)["item"] for line in lines}
    assert 0 < len(shown) < len(ANSWERS)
    for name in ANSWERS:
        assert (f'"gsm8k","{graded.items[0].variant}","{name}"' in page) == (name in shown)
