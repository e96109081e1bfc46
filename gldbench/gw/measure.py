"""Turns the answer of a solver into numbers, and the answers of all solvers into the facts about a problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from gldbench.gw.couplings import Coupling, InfeasibleError, upper_bound
from gldbench.gw.problem import NotApplicableError, Problem
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
    """GW_2^2 or a bound of it; for the paper's solver ggw_mean, a lower bound of GW_1"""
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
        return Measured(upper_bound(problem, answer.coupling), _absolute_cost(problem, answer.coupling), answer.detail)
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
        Values by metric: divisor, n, m, lower, and where known upper, exact, gw1_lower and gw1_upper.
    """
    facts = {"divisor": divisor, "n": float(problem.n), "m": float(problem.m)}
    values = {name: m.value for name, (_, m) in found.items() if m.value is not None}
    known = [values[name] for name, (kind, _) in found.items() if kind == "exact" and name in values]
    lower = [values[name] for name, (kind, _) in found.items() if kind == "lower" and name in values]
    upper = [values[name] for name, (kind, _) in found.items() if kind == "upper" and name in values]
    facts["lower"] = max([0.0, *lower, *known])
    if known or upper:
        facts["upper"] = min([*upper, *known])
    if known:
        facts["exact"] = known[0]
    costs = [m.absolute_cost for _, m in found.values() if m.absolute_cost is not None]
    return facts | _absolute_bounds(problem, values.get("ggw"), costs)


def _absolute_bounds(problem: Problem, ggw_mean: float | None, costs: list[float]) -> dict[str, float]:
    """Bounds of GW_1. On rank-monotone graphs both are the cost of the sorted coupling, which is optimal there.

    Otherwise ggw_mean and W_1 of all entries are lower bounds, and the costs of couplings are upper bounds.
    """
    try:
        c, d = problem.matrices
    except NotApplicableError:
        return {}
    p, q = problem.weights
    sorted_cost = float(gw.coupling_cost(c, d, gw.sorted_coupling(c, d, p, q), power=1))
    if bool(gw.is_rank_monotone(c, p)) and bool(gw.is_rank_monotone(d, q)):
        return {"gw1_lower": sorted_cost, "gw1_upper": sorted_cost}
    entries = [0.0 if ggw_mean is None else ggw_mean]
    if problem.uniform:
        entries.append(float(gw.ggw_mean(c.flatten(), d.flatten())))
    return {"gw1_lower": max(entries), "gw1_upper": min([sorted_cost, *costs])}


def _absolute_cost(problem: Problem, coupling: Coupling) -> float | None:
    """sum |C_ik - D_jl| pi_ij pi_kl, or None for a plan with many entries, for which it takes too long."""
    c, d, _, _ = problem.arrays
    if not isinstance(coupling, Pieces):
        i, j = np.nonzero(coupling)
        if len(i) > 4 * (problem.n + problem.m):
            return None
        coupling = Pieces(*(torch.from_numpy(x) for x in (i, j, coupling[i, j])))
    return float(gw.coupling_cost(torch.from_numpy(c), torch.from_numpy(d), coupling, power=1))
