"""The report of a comparison over several worlds: gates, tested differences, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gldbench.protocol.arms import Choice
from gldbench.protocol.tuned import Trial, Tuning
from gldbench.report import Run, analyse, names, opening, summary_json, write_report
from gldbench.report.analysis import NOT_TESTED, Analysis
from gldbench.report.sameness import require_same
from gldbench.schema import Row
from gldfusion.errors import InputError

METHODS: dict[str, Any] = {
    "sft": {},
    "sft-order": {"like": "sft", "sample_seed": 0, "exploratory": True},
    "sft+uld": {},
    "sft+uld+gld": {"adds_to": "sft+uld"},
    "sft+minced": {},
    "sft+kl": {},
    "sft+kl-shuffled": {"like": "sft+kl"},
}
SKILL = {
    "sft": 0.4,
    "sft-order": 0.4,
    "sft+uld": 0.4,
    "sft+uld+gld": 0.42,
    "sft+minced": 0.6,
    "sft+kl": 0.62,
    "sft+kl-shuffled": 0.39,
}
TASKS = ("world_boolean_expressions", "world_dyck_languages")
CHANCE = {"world_boolean_expressions": 0.5, "world_dyck_languages": 0.0}


def world_rows(
    made: SimpleNamespace, world: int, skill: dict[str, float], seeds: int = 4, items: int = 120
) -> list[Row]:
    """Answers in one world: an item is right where its difficulty is below the skill, with noise of the seed."""
    rows, rng = [], np.random.default_rng(world)
    for task in TASKS:
        difficulty = rng.random(items)
        for method, level in {**skill, "pivot": 0.2}.items():
            for seed in range(seeds if method.startswith("sft") else 1):
                noise = np.random.default_rng([world, seed]).normal(0, 0.02)
                own = np.random.default_rng([world, seed, len(method)]).normal(0, 0.05, items)
                right = difficulty + own + noise < level
                rows += [
                    made.row(
                        task=task,
                        method=method,
                        subject=f"{method}-seed{seed}-world{world}",
                        seed=seed,
                        world_seed=world,
                        item=f"world{world}/{index}",
                        value=float(value),
                    )
                    for index, value in enumerate(right)
                ]
    return rows


def spec_of(made: SimpleNamespace, **changes: Any) -> dict[str, Any]:
    return (
        made.spec
        | {
            "worlds": [3, 4],
            "methods": METHODS,
            "gates": {"same_vocabulary": "sft+kl", "across": "sft+minced", "shuffled": "sft+kl-shuffled"},
            "primary": [["sft+minced", "sft"], ["sft+uld+gld", "sft+uld"]],
        }
        | changes
    )


@pytest.fixture(scope="module")
def both(made: SimpleNamespace) -> list[Row]:
    return world_rows(made, 3, SKILL) + world_rows(made, 4, SKILL)


@pytest.fixture(scope="module")
def analysis(made: SimpleNamespace, both: list[Row]) -> Analysis:
    return analyse(both, spec_of(made), CHANCE)


def test_each_world_has_its_gate(analysis: Analysis) -> None:
    assert [(gate.world, gate.passes) for gate in analysis.gate.worlds] == [(3, True), (4, True)]
    assert [control.role for control in analysis.gate.worlds[0].controls] == ["same_vocabulary", "across", "shuffled"]
    assert analysis.gate.verdict == "2 of 2 worlds can discriminate"
    assert analysis.worlds == (3, 4)


@pytest.mark.parametrize(
    ("skill", "reason"),
    [
        ({"sft+kl": 0.42}, "the positive control sft+kl scores less than 5 points above sft"),
        ({"sft+minced": 0.41}, "the positive control across vocabularies sft+minced scores less than 5 points"),
        ({"sft+kl-shuffled": 0.6}, "the negative control sft+kl-shuffled scores 5 points or more above sft"),
        ({"sft+kl-shuffled": 0.05}, "sft+kl-shuffled scores more than 20 points below sft"),
    ],
)
def test_methods_are_compared_in_the_worlds_that_pass(
    made: SimpleNamespace, skill: dict[str, float], reason: str
) -> None:
    rows = world_rows(made, 3, SKILL) + world_rows(made, 4, SKILL | skill)
    found = analyse(rows, spec_of(made), CHANCE)
    assert found.gate.passing == found.worlds == (3,)
    assert len(found.gate.reasons) == 1
    assert reason in found.gate.reasons[0]
    assert found.gate.reasons[0].endswith("in world 4")
    alone = analyse(world_rows(made, 3, SKILL), spec_of(made), CHANCE)
    assert found.primary == alone.primary
    assert {d.n_seeds for d in found.primary_everywhere} == {8}, "the failed world is shown too"
    assert set(found.by_world) == {3, 4}


def test_a_positive_control_whose_interval_holds_zero_does_not_pass(made: SimpleNamespace) -> None:
    rows = world_rows(made, 3, SKILL | {"sft+kl": 0.47}, seeds=1, items=15)
    gate = analyse(rows, spec_of(made), CHANCE).gate
    control = gate.worlds[0].controls[0]
    assert control.difference is not None
    assert control.difference.comparison.difference.value >= 0.05
    assert "the interval of its difference holds zero" in control.reason


def test_only_primary_comparisons_are_tested(analysis: Analysis) -> None:
    assert [(f.difference.comparison.candidate, f.difference.comparison.correction) for f in analysis.primary] == [
        ("sft+minced", "Holm over 2"),
        ("sft+uld+gld", "Holm over 2"),
    ]
    assert analysis.primary[0].difference.comparison.p == pytest.approx(2 * 2.0**-7)  # 8 pairs, all of one sign
    assert {d.reason for d in analysis.differences} == {NOT_TESTED}
    others = (*analysis.differences, *analysis.added_differences, *analysis.control_differences)
    assert all(d.comparison.p is None for d in others)


def test_a_comparison_without_primary_ones_gives_no_verdict(
    made: SimpleNamespace, both: list[Row], tmp_path: Path
) -> None:
    spec = spec_of(made) | {"primary": [], "weights_from": "other"}
    found = analyse(both, spec, CHANCE)
    every = (*found.differences, *found.added_differences, *found.control_differences)
    assert every
    assert all(d.comparison.p is None for d in every)
    text = write_report(Run(both, spec, made.environment), found, tmp_path).markdown.read_text()
    top = text[: text.index("World gate")]
    assert "This run explores: it shows where to look, and gives no verdict" in top
    assert "there are no p-values" in top
    assert "sft+minced" not in top


def test_differences_are_shown_for_each_family_and_sft_for_each_world(
    made: SimpleNamespace, both: list[Row], analysis: Analysis, tmp_path: Path
) -> None:
    for family, found in analysis.by_family.items():
        own = {d.comparison.candidate: d.comparison.difference.value for d in found}
        means = {score.method: score.families[family].corrected.value for score in analysis.scores}
        assert own["sft+minced"] == pytest.approx(means["sft+minced"] - means["sft"])
    assert set(analysis.by_family) == set(analysis.kept)
    text = write_report(Run(both, spec_of(made), made.environment), analysis, tmp_path).markdown.read_text()
    assert "in each compared family" in text


def test_a_primary_comparison_has_its_size_and_what_could_be_found(analysis: Analysis) -> None:
    minced = analysis.primary[0]
    difference = minced.difference.comparison.difference
    assert minced.effect is not None
    assert minced.detectable is not None
    assert minced.effect > 1
    assert 0 < minced.detectable < difference.value
    assert difference.method.startswith("hierarchical bootstrap over 2 worlds, 4 seeds in each")


def test_a_method_is_compared_with_the_one_that_it_adds_to_and_with_its_controls(analysis: Analysis) -> None:
    pairs = [(d.comparison.candidate, d.comparison.baseline) for d in analysis.added_differences]
    assert pairs == [("sft+uld+gld", "sft+uld")]
    controls = [(d.comparison.candidate, d.comparison.baseline) for d in analysis.control_differences]
    assert controls == [("sft+kl", "sft+kl-shuffled")]


def test_the_arm_that_varies_the_order_only_measures_a_variance_and_is_not_compared(analysis: Analysis) -> None:
    assert "sft-order" not in {d.comparison.candidate for d in analysis.differences}
    found = analysis.variances
    assert found.order is not None
    assert found.both is not None
    assert found.sample is not None
    assert found.both**2 == pytest.approx(max(found.order**2, found.order**2 + found.sample**2), abs=1e-3)
    assert found.world is not None


def test_the_ranking_is_that_of_the_fusion_methods(analysis: Analysis) -> None:
    assert analysis.ranks is not None
    best = analysis.ranks.best
    assert max(best, key=best.__getitem__) == "sft+minced"
    assert set(best) == {"sft", "sft+uld", "sft+uld+gld", "sft+minced"}


def test_a_world_without_the_rows_of_a_source_has_no_reference_made_of_sources(made: SimpleNamespace) -> None:
    skill = {**SKILL, "source-a": 0.8, "source-b": 0.7}
    every = [row for world in (3, 4) for row in world_rows(made, world, skill)]
    part = [row for row in every if (row.method, row.world_seed) != ("source-b", 4)]  # as after a stopped run
    whole, partial = (analyse(rows, spec_of(made), CHANCE).score(names.ORACLE) for rows in (every, part))
    assert whole is not None
    assert partial is not None
    only = analyse([row for row in every if row.world_seed == 3], spec_of(made, worlds=[3]), CHANCE).score(names.ORACLE)
    assert only is not None
    assert partial.mean.corrected.value == only.mean.corrected.value != whole.mean.corrected.value


def test_nothing_is_ranked_if_all_worlds_fail(made: SimpleNamespace, tmp_path: Path) -> None:
    rows = world_rows(made, 3, SKILL | {"sft+kl": 0.4}) + world_rows(made, 4, SKILL | {"sft+minced": 0.4})
    found = analyse(rows, spec_of(made), CHANCE)
    assert found.gate.verdict == "0 of 2 worlds can discriminate"
    assert found.ranks is None
    text = write_report(Run(rows, spec_of(made), made.environment), found, tmp_path).markdown.read_text()
    assert "ranks no methods" in text
    assert "0 of 2 worlds can discriminate" in text


def test_the_page_says_what_was_found_and_how_weights_were_chosen(
    made: SimpleNamespace, both: list[Row], analysis: Analysis, tmp_path: Path
) -> None:
    trials = (
        Trial("sft", None, 2e-3, {}, (0.4, 0.41), True),
        Trial("sft+uld", 0.0, 2e-3, {}, (0.4, 0.41), False),
        Trial("sft+uld", 0.1, 2e-3, {"window": 4}, (0.5, 0.51), True),
    )
    tuning = Tuning(2e-3, {"sft+uld": Choice(0.1)}, trials)
    paths = write_report(Run(both, spec_of(made), made.environment, tuning=tuning), analysis, tmp_path)
    text = paths.markdown.read_text()
    top = text[: text.index("## Scores")]
    assert "**sft+minced carried knowledge over from the sources.**" in top
    assert "- sft+minced scores above sft (+" in top
    assert "p = 0.016 after correction" in top
    assert "Whether sft+uld+gld differs from sft+uld is not decided" in top or "sft+uld+gld scores" in top
    assert "the gate selects worlds in which such a loss works" in text
    assert "| sft+uld | weight 0.1, window 4 | 50.5 (50.0 / 51.0) | chosen |" in text
    assert "between orders of one sample" in text
    assert "hierarchical bootstrap over 2 worlds, their seeds and their items" in text
    assert "| sft+kl | positive control (world 4) |" in text
    page = paths.html.read_text()
    for anchor in ('id="primary"', 'id="tuning"', "World 3: passes", "How stable the order is"):
        assert anchor in page


def test_the_opening_says_what_as_much_training_without_sources_does(analysis: Analysis) -> None:
    gained = next(f for f in analysis.primary if f.difference.comparison.candidate == "sft+minced")
    comparison = gained.difference.comparison
    less = dataclasses.replace(comparison.difference, low=-0.062, value=-0.029, high=0.002)
    longer = dataclasses.replace(comparison, baseline="sft-longer", difference=less)
    beside = dataclasses.replace(gained.difference, comparison=longer)
    told = opening.found(dataclasses.replace(analysis, equal_flops=(beside,)))
    assert sum("Beside sft that is trained for as many FLOPs: −2.9 points (−6.2 to +0.2)." in one for one in told) == 1


def test_the_opening_names_a_difference_that_holds_in_these_worlds_only(analysis: Analysis) -> None:
    first = analysis.primary[0]
    comparison = first.difference.comparison
    wide = dataclasses.replace(comparison.difference, low=-0.009, value=0.016, high=0.041)
    comparison = dataclasses.replace(comparison, baseline="sft+minced", difference=wide, p=0.01)
    only = dataclasses.replace(first, difference=dataclasses.replace(first.difference, comparison=comparison))
    between = dataclasses.replace(analysis, primary=(only,))
    assert opening.lead(between) == "The primary comparisons of this run are between fusion methods, none is with sft."
    assert "In these worlds sft+minced scores above" in opening.found(between)[0]
    assert "but whether others agree is open (+1.6 points" in opening.found(between)[0]


def test_the_summary_has_all_of_it_as_json(made: SimpleNamespace, analysis: Analysis) -> None:
    found = json.loads(json.dumps(summary_json(analysis, (), made.environment)))
    assert [world["passes"] for world in found["gate"]["worlds"]] == [True, True]
    assert {"effect_size", "smallest_detectable", "p"} <= set(found["primary"][0])
    assert set(found["differences_by_world"]) == {"3", "4"}


def trained(made: SimpleNamespace, method: str, steps: int = 3, rate: float = 0.1, tokens: float = 50) -> list[Row]:
    shared = {"suite": "training", "method": method, "world_seed": 3}
    rates = [made.row(**shared, metric="learning_rate", item=str(step + 1), value=rate) for step in range(steps)]
    return [*rates, made.row(**shared, metric="tokens", item="total", value=tokens)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 4}, r"sft\+uld with seed 0 in world 3 has steps 4, sft has steps 3"),
        ({"rate": 0.2}, r"has learning_rate 0.6, sft has learning_rate 0.3"),
        ({"tokens": 60}, r"has tokens 60, sft has tokens 50\ndelete the checkpoints"),
    ],
)
def test_methods_that_were_trained_differently_are_refused(
    made: SimpleNamespace, changes: dict[str, Any], message: str
) -> None:
    rows = trained(made, "sft") + trained(made, "sft+uld", **changes)
    with pytest.raises(InputError, match=message):
        require_same(rows, spec_of(made))
    require_same(rows, made.spec)  # no comparison
    key = {"steps": "steps", "rate": "learning_rate", "tokens": "tokens"}[next(iter(changes))]
    declared = METHODS | {"sft+uld": {"differs_in": [key, "learning_rate"]}}
    require_same(rows, spec_of(made, methods=declared))
    require_same([dataclasses.replace(row, method="sft+uld") for row in rows], spec_of(made))
