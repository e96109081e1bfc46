"""Turns the answer of a solver into numbers, and the answers of all solvers into the facts about a problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gldbench.gw.couplings import Coupling, InfeasibleError, lower_cost, upper_bound
from gldbench.gw.exact import monotone_error
from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.rounding import SAFE, UNIT, entry_error, feature_error, gamma, line_error, spread, weight_error
from gldbench.gw.solvers import Answer
from gldbench.schema import Status
from gldbench.timing import Timing
from gldfusion import gw
from gldfusion.gw import Pieces


class Numbers(NamedTuple):
    """The part of a row that holds a result: metric, value and status."""

    metric: str
    value: float | None
    unit: str = ""
    part: str = ""
    status: Status = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Measured:
    """A solver's answer after the check of its coupling, for graphs of unit mass."""

    value: float | None
    """GW_2^2 or a bound of it with its rounding error; for the paper's solver ggw_mean, which bounds GW_1 from below"""
    absolute_cost: float | None
    """sum |C_ik - D_jl| pi_ij pi_kl of its coupling, an upper bound of GW_1; None for dense plans"""
    detail: Mapping[str, float]
    error: str = ""
    """why the value is None"""

    def numbers(self, timing: Timing[Answer | str]) -> Iterator[Numbers]:
        """The numbers of all rows of this solver on this problem."""
        yield Numbers("value", self.value, status="error" if self.error else "ok", reason=self.error)
        if self.absolute_cost is not None:
            yield Numbers("absolute_cost", self.absolute_cost)
        for name, value in self.detail.items():
            yield Numbers(name, value)
        yield Numbers("first_seconds", timing.first, "s")
        if timing.peak_bytes is not None:
            yield Numbers("peak_memory", float(timing.peak_bytes), "B")
        if timing.skipped:
            yield Numbers("seconds", None, "s", status="skipped", reason=timing.skipped)
        for number, seconds in enumerate(timing.samples):
            yield Numbers("seconds", seconds, "s", f"repeat-{number}")


def measured(problem: Problem, kind: str, timing: Timing[Answer | str]) -> Measured:
    """Checks the coupling of an "upper" solver and computes its cost. Other solvers' numbers are not changed."""
    answer = timing.result
    assert isinstance(answer, Answer)
    if kind != "upper":
        return Measured(answer.value, None, answer.detail)
    assert answer.coupling is not None
    try:
        absolute = None if _is_dense(problem, answer.coupling) else upper_bound(problem, answer.coupling, 1)
        return Measured(upper_bound(problem, answer.coupling), absolute, answer.detail)
    except InfeasibleError as error:
        return Measured(None, None, answer.detail, str(error))


def problem_facts(problem: Problem, divisor: float, found: Mapping[str, tuple[str, Measured]]) -> dict[str, float]:
    """The best bounds of GW_2^2 and of GW_1 that all solvers together give, for graphs of unit mass.

    Args:
        problem: the problem, scaled to unit mass.
        divisor: the graphs of the family were divided by this. In their units GW_1 and GW_2 are larger by this factor,
            GW_2^2 by its square.
        found: kind and answer of each solver, by name.

    Returns:
        Values by metric: divisor, n, m, lower, and where known largest (absolute entry), upper, exact, gw1_lower and
        gw1_upper.
    """
    facts = {"divisor": divisor, "n": float(problem.n), "m": float(problem.m)}
    if problem.a.matrix is not None and problem.b.matrix is not None:
        facts["largest"] = max(float(graph.abs().max()) for graph in problem.matrices)
    values = {name: m.value for name, (_, m) in found.items() if m.value is not None}
    kinds = {name: kind for name, (kind, _) in found.items() if name in values}
    known = [name for name, kind in kinds.items() if kind == "exact"]
    lower = [values[name] for name, kind in kinds.items() if kind == "lower"]
    upper = [values[name] for name, kind in kinds.items() if kind == "upper"]
    facts["lower"] = max([0.0, *lower, *(found[name][1].detail["proved_lower"] for name in known)])
    upper += [found[name][1].detail["proved_upper"] for name in known]
    if upper:
        facts["upper"] = min(upper)
    if known:
        facts["exact"] = min(max(values[known[0]], facts["lower"]), facts["upper"])
    costs = [m.absolute_cost for _, m in found.values() if m.absolute_cost is not None]
    return facts | absolute_bounds(problem, values.get("ggw"), costs)


def absolute_bounds(problem: Problem, ggw_mean: float | None, costs: list[float]) -> dict[str, float]:
    """Bounds of GW_1. On rank-monotone graphs both are the cost of the sorted coupling, which is optimal there.

    Otherwise ggw_mean and W_1 of all entries are lower bounds, and the costs of couplings are upper bounds. All
    include rounding errors, as in `gldbench.gw.rounding`: W_1 and GW_1 are metrics, and their norms are at most those
    of W_2 and GW_2. A wrong mass changes W_1 by less than W_2^2.

    Args:
        problem: the problem, near unit mass.
        ggw_mean: the paper's number for it, if it is known.
        costs: sum |C_ik - D_jl| pi_ij pi_kl of couplings that are known, beside the sorted one.

    Returns:
        gw1_lower and gw1_upper; nothing if the graphs are too large and were not built.
    """
    try:
        c, d = problem.matrices
    except NotApplicableError:
        return {}
    p, q = problem.weights
    pieces = gw.sorted_coupling(c, d, p, q)
    sorted_cost = upper_bound(problem, pieces, 1)
    far = monotone_error(problem)
    if far is not None:
        return {"gw1_lower": lower_cost(problem, pieces, 2 * far, 1), "gw1_upper": min([sorted_cost, *costs])}
    weights, ends = sum(weight_error(problem)), problem.n + problem.m
    f, g = problem.a.features(), problem.b.features()
    line = line_error(ends, weights) * spread(f, g) + feature_error(problem)
    entries = [0.0 if ggw_mean is None else ggw_mean * (1 - gamma(ends + 12)) - SAFE * line]
    if problem.uniform:
        between = float(gw.ggw_mean(c.flatten(), d.flatten()))
        entries.append(between * (1 - gamma(problem.n**2 + problem.m**2 + 12)) - SAFE * entry_error(problem))
    return {"gw1_lower": max([0.0, *entries]) * (1 - 4 * UNIT), "gw1_upper": min([sorted_cost, *costs])}


def _is_dense(problem: Problem, coupling: Coupling) -> bool:
    """Whether a plan has so many entries that its absolute cost takes too long."""
    return not isinstance(coupling, Pieces) and int(np.count_nonzero(coupling)) > 4 * (problem.n + problem.m)
