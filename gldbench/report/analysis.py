"""Computes all numbers of the report that come from scores."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gldbench import stats
from gldbench.protocol.tuned import Tuning
from gldbench.report import names, pairs
from gldbench.report.comparing import (
    Finding,
    Pair,
    Variances,
    differences,
    findings,
    holm,
    ranks,
    variances,
)
from gldbench.report.costs import costs
from gldbench.report.gate import Check, Gate, check_families, world_gate
from gldbench.report.method_scores import MethodScore, corrected_means, method_scores, moved, ordered
from gldbench.report.sameness import require_same
from gldbench.report.scores import (
    SUITE,
    Scores,
    chance_levels,
    check_rows,
    headline_rows,
    read_scores,
    with_composites,
)
from gldbench.report.training import trainings
from gldbench.schema import Row
from gldbench.stats.ranks import Ranks
from gldfusion.errors import InputError

MAIN = ("test", "validation")
"""sets whose scores may be compared; a report uses the first one that the run has"""
EQUAL = 0.1
"""costs count as equal if they differ by at most this share"""
NOT_TESTED = "exploratory: only primary comparisons are tested"


@dataclass(frozen=True)
class Analysis:
    """All numbers of a report that come from the scores of the run."""

    run_id: str
    variant: str
    """the set whose scores are compared: "test", or "validation" in a run that tunes weights"""
    worlds: tuple[int, ...]
    """seeds of the worlds in which methods are compared: those whose gate passes, or all if none does"""
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
    moved: dict[int, tuple[float, float]]
    """world -> mean chance-corrected scores of the pivot and of sft there, where both have scores"""
    differences: tuple[stats.PairedDifference, ...]
    """each fused method minus sft, in the order of `scores`"""
    control_differences: tuple[stats.PairedDifference, ...]
    """each method minus each of its controls"""
    added_differences: tuple[stats.PairedDifference, ...]
    """each method that adds terms to another one, minus that one"""
    equal_flops: tuple[stats.PairedDifference, ...]
    """each method minus sft after as many FLOPs, if the spec has sft with more steps"""
    tuned: bool
    """whether the weights of the methods were tuned on validation for this comparison"""
    weights: dict[str, float]
    """method -> tuned weight of its own terms, as a factor of that of the spec"""
    fixed_weights: tuple[str, ...]
    """the methods that nevertheless have a weight which the spec gives"""
    primary: tuple[Finding, ...]
    """the comparisons that the spec names; empty if it names none"""
    exploratory: bool
    """whether this is a comparison with tuned weights that names no primary comparisons: it gives no verdicts"""
    primary_everywhere: tuple[stats.PairedDifference, ...]
    """the same over all worlds, if some of them failed the gate"""
    by_world: dict[int, tuple[stats.PairedDifference, ...]]
    """world -> each fused method minus sft there, for all worlds; empty if there is one world"""
    by_family: dict[str, tuple[stats.PairedDifference, ...]]
    """kept family -> each fused method minus sft in it"""
    ranks: Ranks | None
    """how stable the order of the fusion methods is; None if they are not ranked"""
    variances: Variances
    statuses: dict[str, dict[str, tuple[int, ...]]]
    """method -> status -> number of graded answers of each checkpoint, on the test and the harder test together"""

    @property
    def averaged(self) -> tuple[str, ...]:
        """The families that the means are over."""
        return self.kept or self.dropped

    @property
    def tested(self) -> tuple[stats.PairedDifference, ...]:
        """The comparisons whose p-values are corrected together: the primary ones, or all with sft."""
        return tuple(finding.difference for finding in self.primary) or self.differences

    def score(self, method: str) -> MethodScore | None:
        """The scores of `method`, or None if it has no complete scores."""
        return next((score for score in self.scores if score.method == method), None)


def analyse(
    rows: Sequence[Row], spec: Mapping[str, Any], chance: Mapping[str, float], tuning: Tuning | None = None
) -> Analysis:
    """Computes the analysis of a run.

    Args:
        rows: all rows of the run.
        spec: the parsed spec.yaml of the run.
        chance: chance level in [0, 1] of each family or task.
        tuning: how the weights were chosen; None if they were not.

    Raises:
        InputError: the rows cannot be compared (see `check_rows`), the methods of a comparison were trained
            differently, the spec lacks a source, or `chance` lacks a family.
    """
    check_rows(rows)
    require_same(rows, spec)
    ground = _ground(rows, spec, chance)
    everywhere, levels, kept = ground.everywhere, ground.chance, ground.kept

    order_only = next((name for name, one in spec["methods"].items() if one.get("sample_seed") is not None), None)
    fused = [m for m in everywhere.seeds if names.group_of(m) != "reference" and m != order_only]
    to_sft = [(name, names.BASELINE) for name in fused if name != names.BASELINE]
    by_world = {w: tuple(differences(everywhere.within([w]), kept, levels, to_sft)) for w in everywhere.worlds}
    gate = Gate(tuple(world_gate(w, pairs.roles(spec), _by_candidate(found)) for w, found in by_world.items()))
    test = everywhere.within(gate.passing or everywhere.worlds)

    primary = [(candidate, baseline) for candidate, baseline in spec.get("primary", ())]
    tuned = bool(spec.get("tuning") or spec.get("weights_from"))
    exploratory = tuned and not primary
    weights = {name: choice.weight for name, choice in tuning.choices.items()} if tuning else {}

    def compared(pairs: Sequence[Pair]) -> tuple[stats.PairedDifference, ...]:
        own = differences(test, kept, levels, pairs)
        return tuple(_untested(own) if primary or exploratory else own)

    found = differences(test, kept, levels, to_sft)
    found = _untested(found) if primary or exploratory else holm(found)
    scores = ordered(method_scores(test, kept or test.families, levels), gate.passes)
    order = {score.method: place for place, score in enumerate(scores)}
    ranked = [score.method for score in scores if names.group_of(score.method) == "method" and score.method in fused]
    return Analysis(
        run_id=ground.run_id,
        variant=ground.variant,
        worlds=test.worlds,
        chance=levels,
        declared=ground.declared,
        kept=kept,
        dropped=ground.dropped,
        left_out={family: count for family, count in everywhere.left_out.items() if count},
        incomplete=everywhere.incomplete,
        scores=scores,
        harder=_harder(rows, test.worlds, kept, levels, ground.declared, order),
        gate=gate,
        checks=ground.checks,
        moved=moved(test, kept, levels),
        differences=tuple(sorted(found, key=lambda difference: order[difference.comparison.candidate])),
        control_differences=compared(pairs.controls(fused, spec)),
        added_differences=compared(pairs.added(fused, spec)),
        equal_flops=compared(_equally_expensive(pairs.equal_flops(fused, spec), rows, spec, weights)),
        tuned=tuned,
        weights=weights,
        fixed_weights=pairs.fixed_weights(fused, spec),
        exploratory=exploratory,
        primary=findings(test, kept, levels, primary),
        primary_everywhere=_everywhere(everywhere, test, kept, levels, primary),
        by_world=by_world if len(by_world) > 1 else {},
        by_family={family: tuple(_untested(differences(test, [family], levels, to_sft))) for family in kept},
        ranks=ranks(test, kept, levels, ranked) if gate.passes else None,
        variances=variances(test, kept, levels, order_only),
        statuses=_statuses(rows),
    )


@dataclass(frozen=True)
class _Ground:
    """The scores that a report compares, and the families that it compares them on."""

    run_id: str
    variant: str
    everywhere: Scores
    """with the composites of each source's families, in all worlds"""
    chance: dict[str, float]
    declared: dict[str, tuple[str, ...]]
    checks: tuple[Check, ...]

    @property
    def dropped(self) -> tuple[str, ...]:
        return tuple(check.family for check in self.checks if check.dropped)

    @property
    def kept(self) -> tuple[str, ...]:
        return tuple(family for family in self.everywhere.families if family not in self.dropped)


def _ground(rows: Sequence[Row], spec: Mapping[str, Any], chance: Mapping[str, float]) -> _Ground:
    variant = next((v for v in MAIN if any(row.suite == SUITE and row.variant == v for row in rows)), MAIN[0])
    scores = read_scores(rows, variant)
    if not scores.families:
        raise InputError(
            f"nothing can be compared: no item of the set {variant} has a score of every method\n"
            "run `gldbench run` again"
        )
    scored = [row for row in rows if row.suite == SUITE]
    levels = chance_levels(chance, sorted({names.family_of(row.task) for row in scored}))
    declared = pairs.declared_families(spec, sorted({row.method for row in scored}), scores.families)
    scores = with_composites(scores, declared)
    means = {method: corrected_means(scores, method, levels) for method in scores.seeds}
    checks = check_families(means, declared, scores.families)
    return _Ground(scored[0].run_id, variant, scores, levels, declared, checks)


def _by_candidate(found: Iterable[stats.PairedDifference]) -> dict[str, stats.PairedDifference]:
    return {difference.comparison.candidate: difference for difference in found}


def _everywhere(
    everywhere: Scores, test: Scores, kept: Sequence[str], chance: Mapping[str, float], primary: Sequence[Pair]
) -> tuple[stats.PairedDifference, ...]:
    if everywhere.worlds == test.worlds:
        return ()
    return tuple(_untested(differences(everywhere, kept, chance, primary)))


def _untested(found: Iterable[stats.PairedDifference]) -> list[stats.PairedDifference]:
    """The differences without p-values: these comparisons are exploratory."""
    return [replace(d, comparison=replace(d.comparison, p=None), reason=NOT_TESTED) for d in found]


def _equally_expensive(
    found: Sequence[Pair], rows: Sequence[Row], spec: Mapping[str, Any], weights: Mapping[str, float]
) -> list[Pair]:
    """The pairs whose methods cost the same FLOPs, sources included, up to `EQUAL`."""
    flops = {cost.method: cost.flops for cost in costs(trainings(rows), spec, weights)}
    return [pair for pair in found if abs(flops.get(pair[0], 0.0) / flops.get(pair[1], 1.0) - 1) <= EQUAL]


def _harder(
    rows: Sequence[Row],
    worlds: Sequence[int],
    kept: tuple[str, ...],
    chance: Mapping[str, float],
    declared: Mapping[str, tuple[str, ...]],
    order: Mapping[str, int],
) -> tuple[MethodScore, ...]:
    """Scores on the harder test, with means over those kept families that it has."""
    harder = read_scores(rows, "harder")
    harder = with_composites(harder.within([w for w in worlds if w in harder.worlds]), declared)
    families = tuple(family for family in harder.families if family in kept) or harder.families
    scores = method_scores(harder, families, chance) if families and harder.worlds else []
    return tuple(sorted(scores, key=lambda score: order.get(score.method, len(order))))


def _statuses(rows: Sequence[Row]) -> dict[str, dict[str, tuple[int, ...]]]:
    graded = [row for variant in (*MAIN, "harder") for row in headline_rows(rows, variant)]
    counts = Counter((row.method, row.status, row.world_seed, row.seed) for row in graded)
    seeds: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for row in graded:
        seeds[row.method].add((row.world_seed, row.seed))
    return {
        method: {
            status: tuple(counts[method, status, world, seed] for world, seed in sorted(seeds[method]))
            for status in sorted({row.status for row in graded if row.method == method})
        }
        for method in names.in_fixed_order(seeds)
    }
