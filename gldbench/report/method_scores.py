"""The scores of each method: means, families, the spread between seeds, and how far sft moves the pivot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gldbench import stats
from gldbench.report import names
from gldbench.report.comparing import BOOTSTRAP_SEED, corrected, family_mean, seed_variance
from gldbench.report.ranges import RAW, corrected_bounds, inside
from gldbench.report.scores import Scores
from gldbench.schema import Estimate
from gldbench.stats.worlds import bootstrap_worlds


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
    """the seed of each checkpoint, world after world"""
    mean: Cell
    """mean over the kept families; every family has the same weight"""
    seed_spread: float | None
    """standard deviation of the chance-corrected mean between the seeds of a world, pooled; None: one seed a world"""
    families: dict[str, Cell]


def corrected_means(scores: Scores, method: str, chance: Mapping[str, float]) -> dict[str, float]:
    """Family -> mean over worlds of the chance-corrected score."""
    means = {}
    for family in scores.families:
        worlds = corrected(scores, method, [family], chance, scores.seeds[method])
        means[family] = float(sum(strata[0].mean() for strata in worlds) / len(worlds))
    return means


def moved(scores: Scores, kept: Sequence[str], chance: Mapping[str, float]) -> dict[int, tuple[float, float]]:
    """World -> the mean of the pivot and of sft over the kept families."""
    found = {}
    for world in scores.worlds if kept else ():
        within = scores.within([world])
        pivot, sft = (
            corrected_means(within, method, chance) if within.seeds.get(method) else {}
            for method in ("pivot", names.BASELINE)
        )
        if pivot and sft:
            found[world] = tuple(sum(means[family] for family in kept) / len(kept) for means in (pivot, sft))
    return found


def method_scores(scores: Scores, kept: tuple[str, ...], chance: Mapping[str, float]) -> list[MethodScore]:
    """The scores of all methods, with means over the kept families."""
    result = []
    for method, seeds in scores.seeds.items():
        cells = {}
        for family in scores.families:
            raw = inside(family_mean(list(scores.matrices[family][method].values())), RAW)
            cells[family] = Cell(raw, stats.correct_estimate(raw, chance[family]))
        zero = dict.fromkeys(kept, 0.0)
        raw, own = (
            bootstrap_worlds(corrected(scores, method, kept, levels, seeds), seed=BOOTSTRAP_SEED)
            for levels in (zero, chance)
        )
        bounds = corrected_bounds([chance[family] for family in kept])
        mean = Cell(inside(raw, RAW), inside(own, bounds))
        variance = seed_variance(scores, kept, chance, method)
        spread = None if variance is None else variance**0.5
        result.append(MethodScore(method, tuple(s for own in seeds.values() for s in own), mean, spread, cells))
    return result


def ordered(scores: list[MethodScore], ranked: bool) -> tuple[MethodScore, ...]:
    """Keeps the fixed order. If `ranked`, sorts the fusion methods among them by mean score, highest first."""
    if not ranked:
        return tuple(scores)
    methods = [score for score in scores if names.group_of(score.method) == "method"]
    best_first = iter(sorted(methods, key=lambda score: -score.mean.corrected.value))
    return tuple(next(best_first) if names.group_of(score.method) == "method" else score for score in scores)
