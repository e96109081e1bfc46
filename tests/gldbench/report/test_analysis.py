"""The analysis on made-up rows: the gate, what is dropped, what is ranked, what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gldbench.report import Run, analyse, names, summary_table, write_report
from gldbench.report.gate import CAN, CANNOT
from gldbench.report.ranges import CUT, corrected_bounds, difference_bounds, inside
from gldbench.report.tables.score_tables import checks_table
from gldbench.report.words import percent
from gldbench.schema import Estimate, Row
from gldfusion.errors import InputError


def changed(rows: list[Row], where: Callable[[Row], bool], **changes: Any) -> list[Row]:
    return [dataclasses.replace(row, **changes) if where(row) else row for row in rows]


def corrected_mean(made: SimpleNamespace, rows: list[Row], method: str, families: tuple[str, ...]) -> float:
    """The definition: per family the mean over seeds and items, chance-corrected, then the mean over families."""
    means = []
    for family in families:
        task = f"world_{family}"
        values = [r.value for r in rows if (r.method, r.task, r.variant) == (method, task, "test")]
        means.append((np.mean([v for v in values if v is not None]) - made.chance[task]) / (1 - made.chance[task]))
    return float(np.mean(means))


def test_means_are_chance_corrected_and_count_a_family_once(made: SimpleNamespace, small: list[Row]) -> None:
    analysis = analyse(small, made.spec, made.chance)
    assert len(analysis.kept) == 7
    for score in analysis.scores:
        if score.method not in (names.BEST_SOURCES, names.ORACLE):
            expected = corrected_mean(made, small, score.method, analysis.kept)
            assert score.mean.corrected.value == pytest.approx(expected), score.method
            assert score.mean.corrected.low < expected < score.mean.corrected.high


def test_the_analysis_does_not_depend_on_the_order_of_rows(made: SimpleNamespace, small: list[Row]) -> None:
    shuffled = [small[i] for i in np.random.default_rng(0).permutation(len(small))]
    assert analyse(shuffled, made.spec, made.chance) == analyse(small, made.spec, made.chance)


def test_references_pick_sources_by_score_and_by_declaration(made: SimpleNamespace, small: list[Row]) -> None:
    # source-a outdoes source-c on one of source-c's own families: the best source changes, the routing does not.
    task = "world_object_counting"
    rows = changed(small, lambda r: (r.method, r.task) == ("source-a", task), value=1.0)
    rows = changed(rows, lambda r: (r.method, r.task, int(r.item[-1]) < 8) == ("source-c", task, True), value=0.0)
    analysis = analyse(rows, made.spec, made.chance)
    best, oracle, c = (analysis.score(name) for name in (names.BEST_SOURCES, names.ORACLE, "source-c"))
    assert best is not None
    assert oracle is not None
    assert c is not None
    assert best.families["object_counting"].raw.value == 1.0
    assert oracle.families["object_counting"] == c.families["object_counting"]
    assert oracle.mean.corrected.value < best.mean.corrected.value


def test_gate_passes_and_methods_are_ranked(made: SimpleNamespace, small: list[Row]) -> None:
    analysis = analyse(small, made.spec, made.chance)
    assert analysis.gate.verdict == CAN == "this world can discriminate"
    assert analysis.gate.reasons == ()
    methods = [s.method for s in analysis.scores if names.group_of(s.method) == "method"]
    assert methods == ["sft+uld", "sft"]


@pytest.mark.parametrize(
    ("skill", "reason"),
    [
        ({"sft+kl": 0.43}, "the positive control sft+kl scores less than 5 points above sft"),
        ({"sft+kl-shuffled": 0.56}, "the negative control sft+kl-shuffled scores 5 points or more above sft"),
    ],
)
def test_a_failed_gate_ranks_nothing(
    made: SimpleNamespace, skill: dict[str, float], reason: str, tmp_path: Path
) -> None:
    chosen = (
        {name: made.skill[name] for name in ("sft", "sft+uld", "sft+kl", "sft+kl-shuffled")} | skill | {"sft+uld": 0.9}
    )
    rows = made.world_rows(chosen, items=20, variants=("test",))
    analysis = analyse(rows, made.spec, made.chance)
    assert analysis.gate.verdict == CANNOT == "this world cannot discriminate"
    assert analysis.gate.reasons == (reason,)
    # sft+uld is far ahead and still stands where the fixed order puts it.
    assert [s.method for s in analysis.scores if names.group_of(s.method) == "method"] == ["sft", "sft+uld"]
    paths = write_report(Run(rows, made.spec, made.environment), analysis, tmp_path)
    for path in (paths.html, paths.markdown):
        text = path.read_text()
        assert CANNOT in text
        assert CAN not in text
        assert "ranks no methods" in text


@pytest.mark.parametrize("control", ["sft+kl", "sft+kl-shuffled", "sft"])
def test_a_gate_without_its_controls_fails(made: SimpleNamespace, small: list[Row], control: str) -> None:
    analysis = analyse([r for r in small if r.method != control], made.spec, made.chance)
    assert not analysis.gate.passes
    assert "could not be compared" in analysis.gate.reasons[0]


@pytest.mark.parametrize(("shuffled", "passes"), [(13, True), (18, False)])
def test_exactly_five_points_pass_the_gate(made: SimpleNamespace, shuffled: int, passes: bool) -> None:
    """9 answers of 60 in one family of three are 5 points, which floats make 0.049999...: rounding decides nothing.

    6 answers more are 3 points, which is less; but the whole interval lies above sft.
    """
    tasks = ["world_boolean_expressions", "world_dyck_languages", "world_list_functions"]
    rows = [
        made.row(task=task, method=method, seed=seed, item=str(index), value=float(index < right * (task == tasks[1])))
        for method, right in {"sft": 12, "sft+kl": 21, "sft+kl-shuffled": shuffled}.items()
        for seed in range(3)
        for task in tasks
        for index in range(60)
    ]
    analysis = analyse(rows, made.spec, dict.fromkeys(tasks, 0.0))
    positive = analysis.gate.worlds[0].controls[0].difference
    assert positive is not None
    assert 0.05 - 1e-12 < positive.comparison.difference.value < 0.05
    assert analysis.gate.passes == passes


def test_families_that_sft_masters_are_dropped_before_comparing(made: SimpleNamespace, small: list[Row]) -> None:
    task = "world_dyck_languages"
    rows = changed(small, lambda r: (r.method, r.task) == ("sft", task), value=1.0)
    analysis = analyse(rows, made.spec, made.chance)
    assert analysis.dropped == ("dyck_languages",)
    assert "dyck_languages" not in analysis.kept
    uld = next(d for d in analysis.differences if d.comparison.candidate == "sft+uld")
    expected = corrected_mean(made, rows, "sft+uld", analysis.kept) - corrected_mean(made, rows, "sft", analysis.kept)
    assert uld.comparison.difference.value == pytest.approx(expected)
    assert uld.n_items == 6 * 30


def test_a_world_with_every_family_dropped_compares_nothing(
    made: SimpleNamespace, small: list[Row], tmp_path: Path
) -> None:
    rows = changed(small, lambda r: r.method == "sft", value=1.0)
    analysis = analyse(rows, made.spec, made.chance)
    assert analysis.kept == ()
    assert analysis.differences == ()
    assert not analysis.gate.passes
    text = write_report(Run(rows, made.spec, made.environment), analysis, tmp_path).markdown.read_text()
    assert "No family is left to compare methods on" in text
    assert "mean is over 7 families" in text


def test_checks_flag_a_pivot_and_a_specialist_out_of_range(made: SimpleNamespace, small: list[Row]) -> None:
    rows = changed(small, lambda r: (r.method, r.task) == ("pivot", "world_list_functions"), value=0.0)
    rows = changed(rows, lambda r: (r.method, r.task) == ("source-b", "world_dyck_languages"), value=0.0)
    checks = {check.family: check for check in analyse(rows, made.spec, made.chance).checks}
    assert checks["list_functions"].pivot_in_range is False
    assert checks["dyck_languages"].specialists_strong is False
    assert checks["multistep_arithmetic"].pivot_in_range is True
    assert checks["multistep_arithmetic"].specialists_strong is True
    assert list(checks["multistep_arithmetic"].specialists) == ["source-a"]


def test_the_report_says_how_far_sft_moves_the_pivot(made: SimpleNamespace, small: list[Row]) -> None:
    analysis = analyse(small, made.spec, made.chance)
    pivot, sft = (analysis.score(name) for name in ("pivot", "sft"))
    assert pivot is not None
    assert sft is not None
    last = checks_table(analysis).lines[-1]
    assert last.cells[1].text == percent(pivot.mean.corrected.value)
    moved = sft.mean.corrected.value - pivot.mean.corrected.value
    assert last.cells[-1].text == f"moved by {percent(moved, True)} points"
    assert last.cells[-1].note == ("" if moved >= 0.05 else "too little")
    same = [dataclasses.replace(r, method="sft", subject="sft-seed0") for r in small if r.method == "pivot"]
    still = [*(r for r in small if r.method != "sft"), *same]
    assert checks_table(analyse(still, made.spec, made.chance)).lines[-1].cells[-1].note == "too little"


def test_an_item_without_a_score_is_left_out_for_all(made: SimpleNamespace, small: list[Row]) -> None:
    lost = "list_functions/test/3"
    rows = changed(small, lambda r: (r.subject, r.item) == ("sft-seed1", lost), value=None, status="error")
    analysis = analyse(rows, made.spec, made.chance)
    assert analysis.left_out == {"list_functions": 1}
    expected = corrected_mean(made, [r for r in rows if r.item != lost], "pivot", analysis.kept)
    pivot = analysis.score("pivot")
    assert pivot is not None
    assert pivot.mean.corrected.value == pytest.approx(expected)
    assert analysis.statuses["sft"]["error"] == (0, 1, 0)


def test_a_subject_without_a_family_is_named_and_left_out(made: SimpleNamespace, small: list[Row]) -> None:
    rows = [r for r in small if (r.subject, r.task) != ("sft+uld-seed2", "world_list_functions")]
    analysis = analyse(rows, made.spec, made.chance)
    assert analysis.incomplete == ("sft+uld seed 2",)
    uld = next(d for d in analysis.differences if d.comparison.candidate == "sft+uld")
    assert uld.n_seeds == 2
    assert "0.5" in uld.reason


def test_three_seeds_support_no_claim_and_eight_are_tested_with_holm(made: SimpleNamespace, small: list[Row]) -> None:
    few = analyse(small, made.spec, made.chance)
    assert {d.comparison.p for d in few.differences} == {None}
    assert "Three seeds are too few to claim significance" in summary_table(few)["notes"][-1]
    chosen = {name: made.skill[name] for name in ("sft", "sft+uld", "sft+kl", "sft+kl-shuffled")}
    many = analyse(made.world_rows(chosen, items=20, seeds=8, variants=("test",)), made.spec, made.chance)
    assert {d.comparison.correction for d in many.differences} == {"Holm over 3"}
    positive = next(d for d in many.differences if d.comparison.candidate == "sft+kl")
    assert positive.comparison.p == pytest.approx(3 * 2.0**-7)
    assert "Holm" in summary_table(many)["notes"][-1]


def test_the_headline_grader_is_read_where_there_are_several(made: SimpleNamespace, small: list[Row]) -> None:
    others = changed(small, lambda r: True, grader="ours", value=0.0) + changed(
        small, lambda r: True, filter="last", value=1.0
    )
    assert analyse(small + others, made.spec, made.chance) == analyse(small, made.spec, made.chance)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: [], "expected rows of suite world, found suites: none"),
        (lambda rows: [dataclasses.replace(rows[0], env_id="other"), *rows[1:]], "one environment"),
        (
            lambda rows: [dataclasses.replace(rows[0], task_version=2), *rows[1:]],
            r"one version of each task, got .*\[1, 2\]",
        ),
        (lambda rows: [rows[0], *rows], "two rows for one item: method"),
        (lambda rows: [dataclasses.replace(rows[0], value=0.5), *rows[1:]], "to be 0 or 1, got 0.5"),
        (lambda rows: [dataclasses.replace(rows[0], task="world_new"), *rows[1:]], "no chance level for new"),
        (lambda rows: [dataclasses.replace(r, value=None) for r in rows], "nothing can be compared"),
        (lambda rows: [dataclasses.replace(rows[0], method="source-x"), *rows[1:]], "found rows of source-x"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(
    made: SimpleNamespace, small: list[Row], spoil: Callable[[list[Row]], list[Row]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        analyse(spoil(small), made.spec, made.chance)


def test_intervals_stay_inside_the_range_of_their_metric(made: SimpleNamespace) -> None:
    """Three seeds near the ends of the range: the bootstrap widened by t would reach beyond them."""
    skill = made.skill | {"sft+kl": 0.97, "sft+kl-shuffled": 0.0}
    rows = made.world_rows(skill, items=50, variants=("test",))
    analysis = analyse(rows, made.spec, made.chance)
    cut = 0
    for score in analysis.scores:
        for family, cell in score.families.items():
            chance = made.chance[f"world_{family}"]
            lowest = -chance / (1 - chance)
            assert 0 <= cell.raw.low <= cell.raw.value <= cell.raw.high <= 1
            assert lowest - 1e-12 <= cell.corrected.low <= cell.corrected.value <= cell.corrected.high <= 1 + 1e-12
            cut += CUT in cell.raw.method
        assert score.mean.corrected.high <= 1
    assert cut
    lowest, highest = difference_bounds([made.chance[f"world_{family}"] for family in analysis.kept])
    for difference in (*analysis.differences, *analysis.control_differences):
        estimate = difference.comparison.difference
        assert lowest <= estimate.low <= estimate.value <= estimate.high <= highest


def test_an_interval_is_cut_only_where_it_leaves_the_range() -> None:
    estimate = Estimate(0.97, 0.9, 1.007, 50, "bootstrap")
    assert inside(estimate, (0.0, 1.0)) == Estimate(0.97, 0.9, 1.0, 50, f"bootstrap, {CUT}")
    assert inside(estimate, (0.0, 2.0)) is estimate
    assert corrected_bounds([0.5, 0.0]) == (-0.5, 1.0)
    assert difference_bounds([0.5]) == (-2.0, 2.0)
