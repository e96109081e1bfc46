"""Numbers from the training logs: loss curves, gradient shares and the cost of each method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gldbench.report.names import in_fixed_order, in_term_order
from gldbench.schema import Row

SUITE = "training"
TOTAL = "total"
"""`item` of rows that hold one value for a whole training run; in all other rows `item` is the step"""
BINS = 250
"""largest number of points of a curve. Where a method logs more steps, each point is a mean over several of them"""
LATE = 0.1
"""share of the steps, at the end, over which a final loss is averaged"""


@dataclass(frozen=True)
class Curve:
    """One metric of one method over training; each array has shape [bins]."""

    steps: np.ndarray
    """mean step of each bin"""
    mean: np.ndarray
    """mean over seeds"""
    low: np.ndarray
    """the lowest seed"""
    high: np.ndarray
    """the highest seed"""


@dataclass(frozen=True)
class Spread:
    """Mean, lowest and highest of values that were measured once per checkpoint: for each world and seed."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Training:
    """Cost and final losses of one method. A dictionary is empty if nothing was logged for it."""

    method: str
    totals: dict[str, Spread]
    """"seconds", "peak_memory_bytes", "tokens", "flops", "truncated_examples" of one checkpoint"""
    coverage: dict[str, Spread]
    """source -> share of the pivot's labelled positions that are paired with a source position"""
    losses: dict[str, Spread]
    """term -> mean of the weighted term over the last tenth of the steps"""
    shares: dict[str, Spread]
    """term -> share of the gradient norm, as the mean over the steps where it was logged"""


def trainings(rows: Sequence[Row]) -> tuple[Training, ...]:
    """The cost and losses of each method that has training rows, in the fixed order of methods."""
    logged = _logged(rows)
    return tuple(
        _training(method, [row for row in logged if row.method == method])
        for method in in_fixed_order({row.method for row in logged})
    )


def loss_terms(rows: Sequence[Row]) -> list[str]:
    """The names of the logged loss terms."""
    return in_term_order({row.metric.removeprefix("loss/") for row in _logged(rows) if row.metric.startswith("loss/")})


def unit_of(rows: Sequence[Row], metric: str) -> str:
    """The unit of `metric` in the rows."""
    return next(row.unit for row in _logged(rows) if row.metric == metric)


def curves(rows: Sequence[Row], metric: str) -> dict[str, Curve]:
    """The curve of `metric` over the training steps of each method: mean, lowest and highest seed in each bin.

    The bins of a method depend on its own steps only: the models of the world train for more steps than a fusion.
    """
    logged = [(row, int(row.item)) for row in _logged(rows) if row.metric == metric and row.item != TOTAL]
    last: dict[str, int] = defaultdict(int)
    for row, step in logged:
        last[row.method] = max(last[row.method], step)
    widths = {method: -(-(step + 1) // BINS) for method, step in last.items()}
    values: dict[str, dict[int, dict[tuple[int, int], list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    steps: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for row, step in logged:
        place = step // widths[row.method]
        values[row.method][place][row.world_seed, row.seed].append(_value(row))
        steps[row.method][place].add(step)
    result = {}
    for method in in_fixed_order(values):
        bins = sorted(values[method])
        by_seed = [[float(np.mean(seed)) for seed in values[method][place].values()] for place in bins]
        middles = np.array([float(np.mean(list(steps[method][place]))) for place in bins])
        mean, low, high = (np.array([reduce(seeds) for seeds in by_seed]) for reduce in (np.mean, np.min, np.max))
        result[method] = Curve(middles, mean, low, high)
    return result


def _logged(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.suite == SUITE and row.value is not None]


def _value(row: Row) -> float:
    assert row.value is not None, "rows come from _logged"
    return row.value


def _training(method: str, logged: Sequence[Row]) -> Training:
    totals = _by_metric([row for row in logged if row.item == TOTAL])
    steps = [row for row in logged if row.item != TOTAL]
    start = (1 - LATE) * max((int(row.item) for row in steps), default=0)
    return Training(
        method=method,
        totals={metric: spread for metric, spread in totals.items() if "/" not in metric},
        coverage=_under(totals, "coverage/"),
        losses=_under(_by_metric([row for row in steps if int(row.item) >= start]), "loss/"),
        shares=_under(_by_metric(steps), "gradient_share/"),
    )


def _by_metric(rows: Sequence[Row]) -> dict[str, Spread]:
    """metric -> spread over the checkpoints, one for each world and seed; its value is the mean of its rows."""
    values: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        values[row.metric][row.world_seed, row.seed].append(_value(row))
    spreads = {}
    for metric, by_seed in values.items():
        means = [float(np.mean(own)) for own in by_seed.values()]
        spreads[metric] = Spread(float(np.mean(means)), min(means), max(means), len(means))
    return spreads


def _under(spreads: Mapping[str, Spread], prefix: str) -> dict[str, Spread]:
    found = {name.removeprefix(prefix): spread for name, spread in spreads.items() if name.startswith(prefix)}
    return {name: found[name] for name in in_term_order(found)}
