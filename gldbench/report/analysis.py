"""Computes all numbers of the report that come from scores."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gldbench import stats
from gldbench.report import names
from gldbench.report.gate import Check, Gate, check_families, gate_of
from gldbench.report.ranges import RAW, corrected_bounds, difference_bounds, inside
from gldbench.report.scores import (
    SUITE,
    Scores,
    chance_levels,
    check_rows,
    headline_rows,
    read_scores,
    with_composites,
)
from gldbench.schema import Estimate, Row
from gldfusion.errors import InputError

MAIN = ("test", "validation")
"""sets whose scores may be compared; a report uses the first one that the run has"""

BOOTSTRAP_SEED = 13893
"""fixed, so that equal rows give equal reports"""


@dataclass(frozen=True)
class Cell:
    """A score before and after chance correction."""

    raw: Estimate
    corrected: Estimate


@dataclass(frozen=True)
class MethodScore:
    """The scores of one method: one line of a score table."""

    method: str
    seeds: tuple[int, ...]
    mean: Cell
    """mean over the kept families; every family has the same weight"""
    families: dict[str, Cell]


@dataclass(frozen=True)
class Analysis:
    """All numbers of a report that come from the scores of the run."""

    run_id: str
    variant: str
    """the set whose scores are compared: "test", or "validation" in a run that tunes weights"""
    world_seed: int
    chance: dict[str, float]
    """family -> chance level in [0, 1]"""
    declared: dict[str, tuple[str, ...]]
    """source -> its own families, those that it is mainly trained on"""
    kept: tuple[str, ...]
    """families on which methods are compared"""
    dropped: tuple[str, ...]
    """families where sft scores above the ceiling. If all are, means are over all families and nothing is compared"""
    left_out: dict[str, int]
    """family -> number of items that no method is scored on, because some method has no score for them"""
    incomplete: tuple[str, ...]
    """"METHOD seed N" of each checkpoint that has no rows in some family; no table shows it"""
    scores: tuple[MethodScore, ...]
    """in the fixed order of methods; if the gate passes, fusion methods are sorted by mean score, highest first"""
    harder: tuple[MethodScore, ...]
    """the same for the harder test, in the order of `scores`; empty if it was not run"""
    gate: Gate
    checks: tuple[Check, ...]
    differences: tuple[stats.PairedDifference, ...]
    """each fused method minus sft, in the order of `scores`"""
    control_differences: tuple[stats.PairedDifference, ...]
    """each method minus each of its controls"""
    statuses: dict[str, dict[str, tuple[int, ...]]]
    """method -> status -> number of graded answers of each seed, on the test and the harder test together"""

    @property
    def averaged(self) -> tuple[str, ...]:
        """The families that the means are over."""
        return self.kept or self.dropped

    def score(self, method: str) -> MethodScore | None:
        """The scores of `method`, or None if it has no complete scores."""
        return next((score for score in self.scores if score.method == method), None)


def analyse(rows: Sequence[Row], spec: Mapping[str, Any], chance: Mapping[str, float]) -> Analysis:
    """Computes the analysis of a run.

    Args:
        rows: all rows of the run.
        spec: the parsed spec.yaml of the run.
        chance: chance level in [0, 1] of each family or task.

    Raises:
        InputError: the rows cannot be compared (see `check_rows`), the spec lacks a source, or `chance` lacks a family.
    """
    check_rows(rows)
    variant = next((v for v in MAIN if any(row.suite == SUITE and row.variant == v for row in rows)), MAIN[0])
    test = read_scores(rows, variant)
    if not test.families:
        raise InputError(
            f"nothing can be compared: no item of the set {variant} has a score of every method\n"
            "run `gldbench run` again"
        )
    scored = [row for row in rows if row.suite == SUITE]
    levels = chance_levels(chance, sorted({names.family_of(row.task) for row in scored}))
    declared = declared_families(spec, sorted({row.method for row in scored}))
    test = with_composites(test, declared)
    means = {method: _corrected_means(test, method, levels) for method in test.seeds}
    checks = check_families(means, declared, test.families)
    dropped = tuple(check.family for check in checks if check.dropped)
    kept = tuple(family for family in test.families if family not in dropped)
    fused = [method for method in test.seeds if names.group_of(method) != "reference"]
    differences = _differences(test, kept, levels, [(names.BASELINE, name) for name in fused])
    gate = gate_of({difference.comparison.candidate: difference for difference in differences})
    scores = _ordered(_method_scores(test, kept or test.families, levels), gate.passes)
    order = {score.method: place for place, score in enumerate(scores)}
    controls = [(name, base) for name in test.seeds if (base := names.controlled(name))]
    return Analysis(
        run_id=scored[0].run_id,
        variant=variant,
        world_seed=scored[0].world_seed,
        chance=levels,
        declared=declared,
        kept=kept,
        dropped=dropped,
        left_out={family: count for family, count in test.left_out.items() if count},
        incomplete=test.incomplete,
        scores=scores,
        harder=_harder(rows, kept, levels, declared, order),
        gate=gate,
        checks=checks,
        differences=tuple(sorted(_holm(differences), key=lambda difference: order[difference.comparison.candidate])),
        control_differences=tuple(_differences(test, kept, levels, controls)),
        statuses=_statuses(rows),
    )


def declared_families(spec: Mapping[str, Any], methods: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The own families of each scored source, from spec["world"]["sources"][method]["families"].

    Raises:
        InputError: the spec lacks a source.
    """
    sources = spec["world"]["sources"]
    unknown = [method for method in methods if names.is_source(method) and method not in sources]
    if unknown:
        raise InputError(f"found rows of {', '.join(unknown)}, but the spec has only the sources {', '.join(sources)}")
    return {
        method: tuple(names.family_of(family) for family in sources[method]["families"])
        for method in methods
        if names.is_source(method)
    }


def _corrected(scores: Scores, method: str, family: str, chance: Mapping[str, float]) -> np.ndarray:
    """Chance-corrected scores [seeds, items]. The correction is linear: it gives the same mean on items or on means."""
    return (scores.matrices[family][method] - chance[family]) / (1 - chance[family])


def _corrected_means(scores: Scores, method: str, chance: Mapping[str, float]) -> dict[str, float]:
    return {family: float(_corrected(scores, method, family, chance).mean()) for family in scores.families}


def _method_scores(scores: Scores, kept: tuple[str, ...], chance: Mapping[str, float]) -> list[MethodScore]:
    result = []
    for method, seeds in scores.seeds.items():
        cells = {}
        for family in scores.families:
            raw = inside(stats.binary_mean(scores.matrices[family][method], seed=BOOTSTRAP_SEED), RAW)
            cells[family] = Cell(raw, stats.correct_estimate(raw, chance[family]))
        strata = [scores.matrices[family][method] for family in kept]
        corrected = [_corrected(scores, method, family, chance) for family in kept]
        raw, own = (stats.bootstrap_mean(arrays, seed=BOOTSTRAP_SEED) for arrays in (strata, corrected))
        bounds = corrected_bounds([chance[family] for family in kept])
        mean = Cell(inside(raw, RAW), inside(own, bounds))
        result.append(MethodScore(method, seeds, mean, cells))
    return result


def _differences(
    scores: Scores, kept: tuple[str, ...], chance: Mapping[str, float], pairs: Iterable[tuple[str, str]]
) -> list[stats.PairedDifference]:
    """candidate - baseline over the kept families, for each pair (baseline, candidate) that has a common seed."""
    result = []
    for baseline, candidate in pairs:
        shared = [seed for seed in scores.seeds.get(candidate, ()) if seed in scores.seeds.get(baseline, ())]
        if baseline == candidate or not shared or not kept:
            continue
        first, second = (
            [
                _corrected(scores, method, family, chance)[[scores.seeds[method].index(seed) for seed in shared]]
                for family in kept
            ]
            for method in (baseline, candidate)
        )
        found = stats.paired_difference(baseline, candidate, first, second, seed=BOOTSTRAP_SEED)
        bounds = difference_bounds([chance[family] for family in kept])
        difference = inside(found.comparison.difference, bounds)
        result.append(replace(found, comparison=replace(found.comparison, difference=difference)))
    return result


def _holm(differences: list[stats.PairedDifference]) -> list[stats.PairedDifference]:
    """Adjusts p over all differences that have one."""
    tested = [d for d in differences if d.comparison.p is not None]
    adjusted = iter(stats.holm([d.comparison.p for d in tested if d.comparison.p is not None]))
    label = f"Holm over {len(tested)}"
    return [
        replace(d, comparison=replace(d.comparison, p=next(adjusted), correction=label))
        if d.comparison.p is not None
        else d
        for d in differences
    ]


def _ordered(scores: list[MethodScore], ranked: bool) -> tuple[MethodScore, ...]:
    """Keeps the fixed order. If `ranked`, sorts the fusion methods among them by mean score, highest first."""
    if not ranked:
        return tuple(scores)
    methods = [score for score in scores if names.group_of(score.method) == "method"]
    best_first = iter(sorted(methods, key=lambda score: -score.mean.corrected.value))
    return tuple(next(best_first) if names.group_of(score.method) == "method" else score for score in scores)


def _harder(
    rows: Sequence[Row],
    kept: tuple[str, ...],
    chance: Mapping[str, float],
    declared: Mapping[str, tuple[str, ...]],
    order: Mapping[str, int],
) -> tuple[MethodScore, ...]:
    """Scores on the harder test, with means over those kept families that it has."""
    harder = with_composites(read_scores(rows, "harder"), declared)
    families = tuple(family for family in harder.families if family in kept) or harder.families
    scores = _method_scores(harder, families, chance) if families else []
    return tuple(sorted(scores, key=lambda score: order.get(score.method, len(order))))


def _statuses(rows: Sequence[Row]) -> dict[str, dict[str, tuple[int, ...]]]:
    graded = [row for variant in (*MAIN, "harder") for row in headline_rows(rows, variant)]
    counts = Counter((row.method, row.status, row.seed) for row in graded)
    seeds: dict[str, set[int]] = defaultdict(set)
    for row in graded:
        seeds[row.method].add(row.seed)
    return {
        method: {
            status: tuple(counts[method, status, seed] for seed in sorted(seeds[method]))
            for status in sorted({row.status for row in graded if row.method == method})
        }
        for method in names.in_fixed_order(seeds)
    }
