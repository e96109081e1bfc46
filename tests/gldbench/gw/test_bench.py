"""The bench: rows, resuming, skipped solvers with reasons, and a report with known verdicts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gldbench import timing
from gldbench.gw import bench as bench_module
from gldbench.gw import claims, tables
from gldbench.gw.bench import plan, run_bench
from gldbench.gw.report import write_report
from gldbench.gw.solvers import SOLVERS, Answer, missing
from gldbench.gw.spec import MIN_REPEATS, BenchSpec, load_bench
from gldbench.store import Store
from gldfusion.errors import InputError
from gldfusion.gw import Pieces

QUIET = lambda name, done, total: None  # noqa: E731
CASES: list[dict[str, Any]] = [
    {"families": ["half-step", "synthetic-rank-softmax", "synthetic-vocabulary-raw"], "sizes": [4, 8], "budget": 1},
    {"families": ["half-step"], "sizes": [64], "solvers": ["ggw", "flb", "sorted", "exact"]},
    {"families": ["sparse-vocabulary"], "sizes": [64, 128, 256, 512], "solvers": ["ggw", "anova", "slb"]},
    {"families": ["real-rank-raw"], "sizes": [1]},
]


def spec(cases: list[dict[str, Any]] | None = None, budget: float = 600) -> BenchSpec:
    """A small bench."""
    return BenchSpec.model_validate({"name": "mini", "budget": budget, "cases": cases or CASES})


def planted(
    tasks: Mapping[str, Callable[[], Any]], repeats: int, budget: float, device: torch.device
) -> dict[str, timing.Timing[Any]]:
    """Stands for `interleaved`: runs each task once. The seconds are planted, so no test depends on the machine."""
    found = {}
    for number, (name, task) in enumerate(tasks.items(), 1):
        samples = tuple(1e-4 * number * (1 + 0.01 * r) for r in range(repeats))
        found[name] = timing.Timing(task(), samples[0], samples, 1, 1000 * number)
    return found


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "interleaved", planted)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gw") / "mini"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_module, "interleaved", planted)
        run_bench(spec(), folder, {}, QUIET)
    return folder


def test_every_case_is_stored_with_raw_samples(bench: Path) -> None:
    rows = Store(bench).frame()
    assert set(rows["suite"]) == {"gw"}
    samples = rows[(rows["metric"] == "seconds") & (rows["subject"] == "ggw") & (rows["item"] == "8x8")]
    assert samples.groupby("task")["value"].count().eq(7).all()
    assert (samples["value"] > 0).all()
    assert json.loads((bench / "environment.json").read_text())["env_id"] == rows["env_id"].iloc[0]


def test_running_again_does_nothing_and_another_bench_is_refused(bench: Path) -> None:
    before = sorted(p.name for p in (bench / "rows").iterdir())
    run_bench(spec(), bench, {}, QUIET)
    assert sorted(p.name for p in (bench / "rows").iterdir()) == before
    with pytest.raises(InputError, match="another version of this experiment"):
        run_bench(spec(CASES[:1]), bench, {}, QUIET)


def test_skips_say_why(bench: Path) -> None:
    rows = Store(bench).frame()
    skipped = rows[rows["status"] == "skipped"]
    assert skipped["reason"].str.len().gt(5).all()
    assert skipped["value"].isna().all()
    reasons = skipped.groupby("subject")["reason"].agg(list)
    assert any("no real logits" in r for r in reasons["problem"])
    assert any("reads the graphs" in r for r in reasons["slb"])
    if missing(SOLVERS["ott_jax"]):
        assert any("not installed" in r for r in reasons["ott_jax"])


def test_the_report_is_a_function_of_the_rows(bench: Path, tmp_path: Path) -> None:
    first = write_report(bench, tmp_path / "one")
    write_report(bench, tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    text = first.path.read_text()
    for heading in ("Time against n", "error bound", "Share of GW_2^2", "Certified intervals", "Skipped"):
        assert heading in text
    assert {p.suffix for p in (tmp_path / "one").iterdir()} == {".md", ".png", ".json", ".csv"}


def test_verdicts_on_families_whose_distance_is_known(bench: Path, tmp_path: Path) -> None:
    verdicts = write_report(bench, tmp_path).summary["claims"]
    assert verdicts["half-step"]["GW_1, ggw_sum"] == "fails from n = 64"
    assert verdicts["half-step"]["GW_2, ggw_mean"] == "fails from n = 64"
    assert verdicts["half-step"]["GW_2^2, ggw_mean"] == "holds vacuously"
    assert set(verdicts["synthetic-rank-softmax"].values()) == {"holds vacuously"}


@pytest.mark.parametrize(
    ("low", "high", "estimate", "limit", "expected"),
    [
        (0.5, 0.5, 0.0, 0.1, "fails"),
        (0.0, 0.0, 0.5, 0.1, "fails"),
        (0.5, 0.6, 0.52, 0.1, "holds"),
        (0.05, 0.09, 0.05, 0.1, "holds vacuously"),
        (0.0, 0.5, 0.3, 0.1, "open"),
        (0.1, 0.1, 0.0, 0.1, "holds vacuously"),
    ],
)
def test_verdict(low: float, high: float, estimate: float, limit: float, expected: str) -> None:
    assert claims.verdict(low, high, estimate, limit) == expected


def test_a_slope_is_recovered_with_an_interval_around_it() -> None:
    rng = np.random.default_rng(0)
    n = np.array([64, 128, 256, 512, 1024])
    seconds = 1e-9 * n**2.5 * np.exp(0.02 * rng.standard_normal(5))
    frame = pd.DataFrame({"n": n, "seconds": seconds, "family": "f", "solver": "s", "device": "cpu"})
    (slope,) = tables.slopes(frame)
    assert slope.low < 2.5 < slope.high
    assert slope.value == pytest.approx(2.5, abs=0.1)
    assert tables.slopes(frame[frame["n"] > 200]) == []


def test_an_infeasible_coupling_becomes_an_error_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Pieces(torch.tensor([0]), torch.tensor([0]), torch.tensor([1.0], dtype=torch.float64))
    monkeypatch.setitem(SOLVERS, "sorted", replace(SOLVERS["sorted"], run=lambda _: Answer(coupling=wrong)))
    run_bench(spec([{"families": ["rank-one"], "sizes": [4], "solvers": ["sorted", "exact"]}]), tmp_path, {}, QUIET)
    rows = {(row.subject, row.metric): row for row in Store(tmp_path).rows()}
    assert rows["sorted", "value"].status == "error"
    assert "marginals" in rows["sorted", "value"].reason
    assert rows["problem", "upper"].value == rows["exact", "proved_upper"].value


def test_a_solver_expected_to_pass_the_budget_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def slow(problem: Any) -> Answer:
        started.append(problem.n)
        return Answer(0.0)

    monkeypatch.setitem(SOLVERS, "flb", replace(SOLVERS["flb"], run=slow, growth=3.0))
    small = spec([{"families": ["rank-one"], "sizes": [4, 64], "solvers": ["flb"]}], budget=1e-3)
    run_bench(small, tmp_path, {}, QUIET)
    assert started == [4]

    small = spec([{"families": ["rank-one"], "sizes": [4, 64], "solvers": ["flb"], "once": {"flb": 60}}], budget=1e-3)
    run_bench(small, tmp_path / "once", {}, QUIET)
    assert started == [4, 4, 64]


def test_searches_that_gave_up_count_among_the_problems(bench: Path) -> None:
    rows = Store(bench).frame()
    table = tables.searches(rows).set_index(["family", "n"])
    whole = table.loc[("synthetic-vocabulary-raw", 8)]
    assert (whole["problems"], whole["proved"]) == (1, 1)
    assert whole["largest tree"] > 0
    assert whole["largest seconds"] > 0
    exact = (rows["subject"] == "exact") & (rows["task"] == "synthetic-vocabulary-raw") & (rows["item"] == "8x8")
    assert "half-step" not in table.index.get_level_values("family")  # the closed form
    row = rows[exact].iloc[:1].assign(status="skipped", reason="the budget of 60 s ended", value=None)
    left = tables.searches(pd.concat([rows[~exact], row])).set_index(["family", "n"])
    assert left.loc[("synthetic-vocabulary-raw", 8), ["problems", "proved"]].tolist() == [1, 0]


@pytest.mark.parametrize("name", ["quick", "full"])
def test_presets_name_known_families_once(name: str) -> None:
    loaded = load_bench(name)
    cases = list(plan(loaded))
    assert len({case.name for case in cases}) == len(cases)
    assert loaded.repeats >= MIN_REPEATS == timing.MIN_REPEATS


def test_bad_benches(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    for text, message in (
        ("name: x\nbudget: 1\ncases: [{families: [ran-one], sizes: [4]}]", 'did you mean "rank-one"'),
        ("name: x\nbudget: 1\ncases: [{families: [rank-one], sizes: [4], solvers: [flv]}]", 'did you mean "flb"'),
        ("name: x\nbudget: 1\ncases: [{families: [rank-one], sizes: [4], once: {flv: 1}}]", 'did you mean "flb"'),
        ("name: x\nbudget: 1\nrepeats: 3\ncases: []", "repeats"),
        ("name: x\nbudget: 1\ncases: [{families: [rank-one, rank-one], sizes: [4]}]", "is in 2 cases"),
        ("name: x\nbudgett: 1\ncases: []", "budget"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            load_bench(str(path))
    with pytest.raises(InputError, match="quick"):
        load_bench("quik")


def test_a_bench_without_upper_bounds_has_no_report(tmp_path: Path) -> None:
    run_bench(spec([{"families": ["rank-one"], "sizes": [4], "solvers": ["ggw", "flb"]}]), tmp_path, {}, QUIET)
    with pytest.raises(InputError, match="no upper bound of any problem, so that no error is known\nname a solver"):
        write_report(tmp_path, tmp_path / "report")


@pytest.mark.parametrize("name", ["gw-quick", "gw-features"])
def test_the_committed_report_has_all_figures_that_it_names(name: str) -> None:
    folder = Path(__file__).parents[3] / "reports" / name
    named = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (folder / "report.md").read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (folder / name).is_file()] == []


def test_solvers_are_compared_on_the_same_problems_and_failures_are_kept() -> None:
    lines = []
    for family, easy in (("a", 0.1), ("b", 0.3), ("c", 0.5), ("d", 0.7)):
        for solver in ("whole", "most", "few"):
            solves = solver == "whole" or (solver == "most" and family != "d") or family == "a"
            seconds = 1.0 if solves else np.nan
            lines.append({"family": family, "solver": solver, "error": easy, "seconds": seconds})
    shared = {"item": "8x8", "n": 8, "instance": 0, "device": "cpu", "kind": "lower"}
    table = tables.pareto(pd.DataFrame(lines).assign(**shared), 8).set_index("solver")
    assert table["failed"].to_dict() == {"whole": 0, "most": 1, "few": 3}
    assert table.loc["whole", "error"] == table.loc["most", "error"] == pytest.approx(0.3)
    assert np.isnan(table.loc["few", "error"])
    assert table["best"].to_dict() == {"whole": True, "most": True, "few": False}
    assert set(table["problems"]) == {3, 0}


def test_the_bound_is_judged_in_units_that_do_not_depend_on_the_scale(bench: Path, tmp_path: Path) -> None:
    found = write_report(bench, tmp_path).summary["claims_by_scale"]
    assert set(found) == set(claims.SCALES)
    assert found["family"] == write_report(bench, tmp_path).summary["claims"]
    assert found["largest entry 1"]["half-step"]["GW_2, ggw_mean"].startswith("fails")
