"""Table 3 of the paper as it ships: its numbers, its arithmetic, its plan, and its committed report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gldbench import cli
from gldbench.spec import spec_path
from gldbench.tables import estimate
from gldbench.tables.cells import TableResult, collect
from gldbench.tables.definition import Table, is_table, load_table
from gldbench.tables.substitute import tiny_checkpoint
from gldbench.tables.write import write_table
from gldbench.tasks import load_items, load_task

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def table() -> Table:
    return load_table(spec_path("table3"))


@pytest.fixture(scope="module")
def published(table: Table) -> TableResult:
    return collect(table, Path("no such run"))


def test_the_published_values_are_those_of_the_task_files(table: Table) -> None:
    """Two files of the project hold them; they were typed once, and this test keeps them equal."""
    found = 0
    for row in table.rows.values():
        benchmark, _, subtask = row.task.partition("/")
        told = load_task(benchmark).published[subtask]
        assert {name: round(100 * value, 2) for name, value in told.items()} == row.published
        found += len(told)
    assert found == 18 * 6


def test_the_averages_recompute(published: TableResult) -> None:
    assert [column.stated for column in published.columns] == [75.53, 77.37, 73.29, 77.43, 77.94, 84.16]
    for column in published.columns:
        assert column.recomputed == pytest.approx(column.stated, abs=0.0051)


def test_the_gains_of_the_abstract_are_those_over_the_base(published: TableResult) -> None:
    over_sft, over_base = published.deltas
    rows = list(published.table.rows)
    arithmetic, causal = rows.index("Multistep Arithmetic"), rows.index("Causal Judgement")
    assert over_sft.published[arithmetic] == pytest.approx(37.60)
    assert over_sft.published[causal] == pytest.approx(34.22)
    assert over_base.published[arithmetic] == pytest.approx(35.60)
    assert over_base.published[causal] == pytest.approx(37.06)
    assert [check.holds for check in published.claims] == [False, False]
    assert [check.equals for check in published.claims] == [(over_base.title,)] * 2


def test_two_published_values_are_no_share_of_the_items(published: TableResult) -> None:
    assert [line.partition(" is no")[0] for line in published.odd] == [
        "Causal Judgement, DeepSeek-R1-Distill-Qwen-14B: 45.35",
        "Causal Judgement, Phi-4: 32.99",
    ]


def test_the_sizes_of_the_rows_are_those_of_the_data(table: Table, benchmark_data: Path) -> None:
    for name in ("Abstract Algebra", "Causal Judgement", "Tracking 7 Objects"):
        row = table.rows[name]
        items = load_items(load_task(row.task), benchmark_data)
        assert len(items) == row.items
        assert sum(len(item.prompt) for item in items) / len(items) == pytest.approx(row.prompt_characters, abs=0.51)


def test_every_model_that_is_public_is_pinned(table: Table) -> None:
    pinned = {name: model.revision for name, model in table.models.items() if model.hub}
    assert set(table.models) - set(pinned) == {"phi4_sft_14b"}
    assert [name for name, revision in pinned.items() if len(revision) != 40] == ["infigfusion_14b"]


def test_the_plan_counts_what_is_asked(table: Table) -> None:
    whole = estimate.estimates(table, list(table.models), None)
    assert {one.items for one in whole} == {4487}
    assert all(one.fits and one.memory <= table.hardware.memory * 1.0001 for one in whole)
    assert all(0 < one.hours < one.most_hours for one in whole)
    phi = next(one for one in whole if one.model == "phi4_14b")
    assert phi.disk == pytest.approx(2 * 14.66e9, rel=0.01)
    assert phi.most_answer_tokens == 4487 * 4096
    few = estimate.estimates(table, ["phi4_14b"], 2)[0]
    assert (few.items, few.most_answer_tokens) == (36, 36 * 4096)
    small = table.model_copy(update={"hardware": table.hardware.model_copy(update={"memory": 24e9})})
    (none,) = estimate.estimates(small, ["phi4_14b"], None)
    assert not none.fits
    assert "does not fit" in estimate.as_rows([none])[1]
    shared = small.model_copy(update={"engine": small.engine.model_copy(update={"tensor_parallel": 2})})
    assert estimate.estimates(shared, ["phi4_14b"], None)[0].fits


def test_the_plan_is_printed_with_its_assumptions() -> None:
    ended = CliRunner().invoke(cli.app, ["run", "table3", "--plan", "--only", "phi4_14b,mistral_small_24b"])
    assert ended.exit_code == 0, ended.output
    assert "4,487" in ended.output
    assert "None of these numbers was measured" in ended.output
    told = json.loads(CliRunner().invoke(cli.app, ["run", "table3", "--plan", "--json"]).output)
    assert len(told["models"]) == 6
    assert len(told["assumptions"]) == 6


def test_the_committed_report_has_the_published_columns(published: TableResult, tmp_path: Path) -> None:
    paths = write_table(published, tmp_path)
    for path in paths.values():
        assert path.read_bytes() == (ROOT / "reports" / "table3" / path.name).read_bytes(), (
            "make it again: gldbench run table3 --report-only --output NOWHERE --report reports/table3"
        )
    markdown = paths["markdown"].read_text()
    assert markdown.count("| not measured |") >= 18 * 6
    assert "+37.60" in markdown
    assert "+34.22" in markdown
    with paths["csv"].open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 19 * 6
    assert {line["measured"] for line in lines} == {""}
    assert paths["latex"].read_text().count(r" \\") == 21


def test_only_a_table_takes_the_options_of_tables(tmp_path: Path) -> None:
    assert not is_table(spec_path("tiny"))
    ended = CliRunner().invoke(cli.app, ["run", "tiny", "--substitute", "tiny", "--output", str(tmp_path / "out")])
    assert "--substitute belongs to tables" in str(ended.exception)
    assert not (tmp_path / "out").exists()


def test_the_substitute_is_made_once_and_in_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Planted bug: transformers showed a progress bar of its own between the lines of the run."""
    folder = tiny_checkpoint(tmp_path / "substitute")
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert tiny_checkpoint(folder) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_whole_path_runs_offline_with_a_tiny_model(benchmark_data: Path, tmp_path: Path) -> None:
    arguments = ["run", "table3", "--substitute", "tiny", "--data", str(benchmark_data), "--limit", "1"]
    arguments += ["--only", "phi4_14b,infigfusion_14b", "--output", str(tmp_path / "run"), "--json"]
    for generated in (18, 0):
        ended = CliRunner().invoke(cli.app, arguments)
        assert ended.exit_code == 0, ended.output
        told = json.loads(ended.stdout)
        assert [run["generated"] for run in told["runs"]] == [generated] * 2
        assert [model["measured_rows"] for model in told["models"]] == [0, 0, 0, 18, 0, 18]
    text = (tmp_path / "run" / "report" / "table.md").read_text()
    assert "SUBSTITUTE" in text
