"""A small table is measured, reported beside its published values, and resumed without generating anything."""

from __future__ import annotations

import csv
import hashlib
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml
from typer.testing import CliRunner

from gldbench import cli
from gldbench.spec import spec_path
from gldbench.stats import wilson
from gldbench.tables import measure
from gldbench.tables.cells import collect
from gldbench.tables.definition import load_table
from gldfusion.errors import InputError
from gldfusion.recipe import read_yaml

ChainMaker = Callable[..., Path]
COUNTING = {"1": "2", "2": "3", "3": "4", "4": "5", "x": "x"}
SHORT = {"1": "2", "2": "3", "3": "4"}
"""never writes 5, so that every answer is wrong"""
ROWS = [{"q": f"a {start}", "gold": gold} for start, gold in [("1", "2345"), ("2", "345"), ("3", "9"), ("4", "5")]]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tasks/, data/ and table.yaml: two rows, three models, one of which has no checkpoint."""
    content = "".join(json.dumps(row) + "\n" for row in ROWS)
    for name in ("one", "two"):
        task = {
            "name": name,
            "version": 1,
            "title": name,
            "dataset": {
                "kind": "file",
                "file": "rows.jsonl",
                "sha256": hashlib.sha256(content.encode()).hexdigest(),
                "count": len(ROWS),
                "licence": "MIT",
                "target": "gold",
            },
            "prompt": "{q}" if name == "one" else "z {q}",
            "scorer": "number",
            "generation": {"max_tokens": 40, "stop": []},
            "headline": {"grader": "ours", "filter": "answer", "metric": "exact_match"},
            "chance": 0.0,
            "citation": "nobody",
        }
        (tmp_path / "tasks" / name).mkdir(parents=True)
        (tmp_path / "tasks" / name / "task.yaml").write_text(yaml.safe_dump(task))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text(content)
    monkeypatch.setattr("gldbench.tasks.load.tasks_root", lambda: tmp_path / "tasks")
    sizes = {"parameters": 1e9, "layers": 2, "kv_heads": 2, "head_size": 8}
    row = {"items": 4, "prompt_characters": 3, "answer_tokens": 4}
    table: dict[str, Any] = {
        "kind": "table",
        "name": "small",
        "title": "A <small> table",
        "source": "nobody & co",
        "max_tokens": 8,
        "graders": ["ours"],
        "engine": {"backend": "hf", "dtype": "auto", "tensor_parallel": 1, "batch_size": 4},
        "models": {
            "base": {"title": "Base", **sizes},
            "fused": {"title": "Fused_1", "hub": "nobody/fused", **sizes},
            "lost": {"title": "Lost", "note": "It was never published.", **sizes},
        },
        "rows": {
            "Row 1": {"task": "one", "published": {"base": 75, "fused": 50, "lost": 25}, **row},
            "Row 2": {"task": "two", "published": {"base": 0, "fused": 75, "lost": 50}, **row},
        },
        "averages": {"base": 37.5, "fused": 62.5, "lost": 37.6},
        "differences": {"over_base": {"title": "fused over base", "of": "fused", "minus": "base"}},
        "claims": [{"quote": "+75 on Row 2", "row": "Row 2", "value": 75, "difference": "over_base"}],
        "hardware": load_table(spec_path("table3")).hardware.model_dump(),
    }
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
    return tmp_path


def run(folder: Path, *arguments: str) -> Any:
    base = ["run", str(folder / "table.yaml"), "--data", str(folder / "data"), "--output", str(folder / "run")]
    return CliRunner().invoke(cli.app, [*base, *arguments])


def test_published_beside_measured(small: Path, chain: ChainMaker) -> None:
    base, fused = chain(COUNTING, name="base"), chain(SHORT, name="fused")
    ended = run(small, "--models", f"base={base}", "--models", f"fused={fused}", "--json")
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert [one["generated"] for one in told["runs"]] == [8, 8]
    assert [one["measured_rows"] for one in told["models"]] == [2, 2, 0]
    result = collect(load_table(small / "table.yaml"), small / "run")
    cell = result.columns[0].cells[0]
    assert cell.measured is not None
    assert cell.difference is not None
    expected = wilson(3, 4)
    assert (cell.measured.value, cell.measured.low) == (75.0, pytest.approx(100 * expected.low))
    assert (cell.difference.value, cell.difference.high) == (0.0, pytest.approx(100 * expected.high - 75))
    assert cell.inside is True
    assert result.columns[0].cells[1].inside is False  # 75 measured, 0 published
    assert result.columns[0].average.measured is not None
    assert result.columns[0].average.measured.value == 75.0
    assert result.columns[0].average.published == 37.5
    (delta,) = result.deltas
    assert delta.published == (-25.0, 75.0)
    assert [one.value for one in delta.measured if one] == [-75.0, -75.0]
    assert result.claims[0].holds
    assert result.columns[2].measured == 0
    with (small / "run" / "report" / "table.csv").open() as file:
        lines = {(line["row"], line["model"]): line for line in csv.DictReader(file)}
    assert lines["Row 2", "base"]["published_inside"] == "no"
    assert lines["Row 1", "base"]["difference"] == "0.0000"
    assert lines["Row 1", "lost"]["measured"] == ""
    page = (small / "run" / "report" / "index.html").read_text()
    assert "A &lt;small&gt; table" in page
    assert page.count("not measured</td>") == 3
    assert "Lost: not measured. It was never published." in page
    latex = (small / "run" / "report" / "table.tex").read_text()
    assert r"Fused\_1" in latex
    assert "75.00 & 75.00" in latex
    assert "0.00 & 75.00*" in latex
    again = CliRunner().invoke(cli.app, ["report", str(small / "run"), "--json"])
    assert json.loads(again.stdout)["models"] == told["models"]


def test_a_second_run_generates_nothing_and_other_models_can_follow(small: Path, chain: ChainMaker) -> None:
    base, fused = chain(COUNTING, name="base"), chain(SHORT, name="fused")
    first = json.loads(run(small, "--models", f"base={base}", "--only", "base", "--json").stdout)
    assert [(one["name"], one["generated"]) for one in first["runs"]] == [("base", 8)]
    both = json.loads(run(small, "--models", f"base={base},fused={fused}", "--json").stdout)
    assert [(one["name"], one["generated"]) for one in both["runs"]] == [("base", 0), ("fused", 8)]
    assert both["runs"][0]["generated_tokens"] == 0


def test_a_row_without_any_grade_is_not_measured_and_a_grade_less_is_an_item_less(small: Path) -> None:
    run(small, "--substitute", "tiny", "--only", "base")
    path = small / "run" / "base" / "evaluation.json"
    content = json.loads(path.read_text())
    first, second = (score["headline"] for score in content["scores"])
    first |= {"score": None, "low": None, "high": None, "interval": None, "strict": None, "lenient": None}
    second["ungraded"] = 1
    path.write_text(json.dumps(content))
    cells = collect(load_table(small / "table.yaml"), small / "run").columns[0].cells
    assert cells[0].measured is None
    assert cells[1].measured is not None
    assert (cells[1].measured.n, cells[1].n_task) == (3, 4)


def test_a_substitute_stands_in_for_every_model_and_is_named(small: Path) -> None:
    for generated in (3, 0):
        told = json.loads(run(small, "--substitute", "tiny", "--limit", "3", "--json").stdout)
        assert [one["generated"] for one in told["runs"]] == [2 * generated] * 3
        assert all(one["substitute"] for one in told["models"])
    for name in ("table.md", "table.tex", "index.html"):
        assert "SUBSTITUTE" in (small / "run" / "report" / name).read_text()
    assert "on a part of the items" in (small / "run" / "report" / "table.md").read_text()


def test_a_folder_can_stand_in_too(small: Path, chain: ChainMaker) -> None:
    told = json.loads(run(small, "--substitute", str(chain(COUNTING)), "--only", "lost", "--json").stdout)
    assert [(one["name"], one["generated"]) for one in told["runs"]] == [("lost", 8)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--models", "bse=x"], 'did you mean "base"'),
        (["--models", "base"], "expected --models NAME=FOLDER"),
        (["--models", "base=x,base=y"], "names base twice"),
        (["--models", "base=nowhere"], "not a checkpoint"),
        (["--only", "lost"], "no checkpoint of lost is public"),
        (["--only", "nobody"], "known: base, fused, lost"),
        (["--substitute", "nowhere"], "not a checkpoint"),
        (["--substitute", "tiny", "--models", "base=x"], "give one of them"),
        (["--substitute", "tiny", "--backend", "vlm"], 'did you mean "vllm"'),
        (["--only", "fused"], "the hub does not give nobody/fused at main"),
    ],
)
def test_mistakes_are_told_before_anything_is_run(
    small: Path, arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    ended = run(small, *arguments)
    assert isinstance(ended.exception, InputError)
    assert told in str(ended.exception)
    assert len(str(ended.exception).splitlines()) <= 3
    assert not list((small / "run").glob("*/rows"))


def test_models_come_from_the_hub_at_their_revision(
    small: Path, chain: ChainMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[dict[str, Any]] = []
    real = inspect.signature(huggingface_hub.snapshot_download)
    path = chain(COUNTING, name="0123abcd")

    def download(*arguments: Any, **named: Any) -> str:
        asked.append(real.bind(*arguments, **named).arguments)  # the arguments must suit the installed library
        return str(path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    told = json.loads(run(small, "--json").stdout)
    assert [one["name"] for one in told["runs"]] == ["fused"]
    assert [(one["repo_id"], one["revision"]) for one in asked] == [("nobody/fused", "main")]
    record = json.loads((small / "run" / "fused" / measure.RECORD).read_text())
    assert (record["hub"], record["commit"], record["substitute"]) == ("nobody/fused", "0123abcd", False)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.update(kolumns=1), "kolumns"),
        (lambda t: t["rows"]["Row 1"]["published"].update(bse=1), 'no "bse"(; |, )?.*did you mean "base"'),
        (lambda t: t["differences"]["over_base"].update(of="nobody"), "differences.over_base has no"),
        (lambda t: t["claims"][0].update(row="Row 9"), "claims has no"),
    ],
)
def test_a_wrong_table_is_refused(small: Path, change: Any, told: str) -> None:
    table = read_yaml(small / "table.yaml", "table")
    change(table)
    (small / "table.yaml").write_text(yaml.safe_dump(table))
    with pytest.raises(InputError) as caught:
        load_table(small / "table.yaml")
    assert re.search(told, str(caught.value))


def test_damaged_results_are_named(small: Path) -> None:
    run(small, "--substitute", "tiny", "--only", "base")
    (small / "run" / "base" / "evaluation.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        collect(load_table(small / "table.yaml"), small / "run")
