"""Every number of the report that comes from scores, as frozen data."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gldbench import stats
from gldbench.report import names
from gldbench.report.gate import Check, Gate, check_families, gate_of
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
"""the sets whose scores may be compared: the first that a run has"""

BOOTSTRAP_SEED = 13893
"""Fixed, so that the same rows give the same report."""


@dataclass(frozen=True)
class Cell:
    """A score as it is and after chance correction."""

    raw: Estimate
    corrected: Estimate


@dataclass(frozen=True)
class MethodScore:
    """One line of a score table."""

    method: str
    seeds: tuple[int, ...]
    mean: Cell
    """the mean over the kept families, each counted once"""
    families: dict[str, Cell]


@dataclass(frozen=True)
class Analysis:
    """What a report says about the scores of one run."""

    run_id: str
    variant: str
    """the set whose scores are compared: "test", or "validation" where weights are tuned"""
    world_seed: int
    chance: dict[str, float]
    declared: dict[str, tuple[str, ...]]
    """source -> the families it is trained on"""
    kept: tuple[str, ...]
    """families over which methods are compared"""
    dropped: tuple[str, ...]
    """families where sft is above the ceiling; if that is all of them, means are over all and nothing is compared"""
    left_out: dict[str, int]
    """family -> items that some method has no score for; no method is scored on them"""
    incomplete: tuple[str, ...]
    """methods and seeds without rows in some family; they are in no table"""
    scores: tuple[MethodScore, ...]
    """in fixed order, but the fusion methods by falling mean if the gate passes"""
    harder: tuple[MethodScore, ...]
    """the same on the harder test, in the order of `scores`; empty where it was not run"""
    gate: Gate
    checks: tuple[Check, ...]
    differences: tuple[stats.PairedDifference, ...]
    """each fused method against sft, in the order of `scores`"""
    control_differences: tuple[stats.PairedDifference, ...]
    """each controlled method against each of its controls"""
    statuses: dict[str, dict[str, tuple[int, ...]]]
    """method -> status -> graded answers of each of its checkpoints, by seed, on the test and the harder test"""

    @property
    def averaged(self) -> tuple[str, ...]:
        """The families that means are over."""
        return self.kept or self.dropped

    def score(self, method: str) -> MethodScore | None:
        """The line of `method`, or None where it has no complete scores."""
        return next((score for score in self.scores if score.method == method), None)


def analyse(rows: Sequence[Row], spec: Mapping[str, Any], chance: Mapping[str, float]) -> Analysis:
    """The analysis of `rows`; `chance` holds the chance level of each family or task.

    Raises InputError where rows may not be compared (see `check_rows`) or the spec or `chance` lacks what is needed.
    """
    check_rows(rows)
    variant = next((v for v in MAIN if any(row.suite == SUITE and row.variant == v for row in rows)), MAIN[0])
    test = read_scores(rows, variant)
    if not test.families:
        raise InputError(
            f"no {variant} item has a score for every method: nothing can be compared\nevaluate the run again"
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
    """The families that each scored source is trained on, from spec["world"]["sources"][method]["families"]."""
    sources = spec["world"]["sources"]
    unknown = [method for method in methods if names.is_source(method) and method not in sources]
    if unknown:
        raise InputError(f"rows of {', '.join(unknown)}, but the spec declares the sources {', '.join(sources)}")
    return {
        method: tuple(names.family_of(family) for family in sources[method]["families"])
        for method in methods
        if names.is_source(method)
    }


def _corrected(scores: Scores, method: str, family: str, chance: Mapping[str, float]) -> np.ndarray:
    """Scores [seeds, items] after chance correction, which is linear: item by item or on the mean is the same."""
    return (scores.matrices[family][method] - chance[family]) / (1 - chance[family])


def _corrected_means(scores: Scores, method: str, chance: Mapping[str, float]) -> dict[str, float]:
    return {family: float(_corrected(scores, method, family, chance).mean()) for family in scores.families}


def _method_scores(scores: Scores, kept: tuple[str, ...], chance: Mapping[str, float]) -> list[MethodScore]:
    result = []
    for method, seeds in scores.seeds.items():
        cells = {}
        for family in scores.families:
            raw = stats.binary_mean(scores.matrices[family][method], seed=BOOTSTRAP_SEED)
            cells[family] = Cell(raw, stats.correct_estimate(raw, chance[family]))
        strata = [scores.matrices[family][method] for family in kept]
        corrected = [_corrected(scores, method, family, chance) for family in kept]
        mean = Cell(*(stats.bootstrap_mean(arrays, seed=BOOTSTRAP_SEED) for arrays in (strata, corrected)))
        result.append(MethodScore(method, seeds, mean, cells))
    return result


def _differences(
    scores: Scores, kept: tuple[str, ...], chance: Mapping[str, float], pairs: Iterable[tuple[str, str]]
) -> list[stats.PairedDifference]:
    """candidate - baseline for each (baseline, candidate) that shares a seed, over the kept families."""
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
        result.append(stats.paired_difference(baseline, candidate, first, second, seed=BOOTSTRAP_SEED))
    return result


def _holm(differences: list[stats.PairedDifference]) -> list[stats.PairedDifference]:
    """The differences with p adjusted over all that have one."""
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
    """In fixed order; where methods may be ranked, the fusion methods among them by falling mean."""
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
    """Scores on the harder test over its share of the kept families."""
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
