"""From a solver's answer to numbers, and from all answers to what is known about the problem."""

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
    """What a row says besides where it belongs."""

    metric: str
    value: float | None
    unit: str = ""
    part: str = ""
    status: Status = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Measured:
    """A solver's answer, checked; for graphs of unit mass."""

    value: float | None
    """GW_2^2 or a bound of it; GW_1's lower bound ggw_mean for the paper's solver"""
    absolute_cost: float | None
    """sum |C_ik - D_jl| pi pi of its coupling, an upper bound of GW_1; None for dense plans"""
    detail: Mapping[str, float]
    error: str = ""
    """why the value is none"""

    def numbers(self, timing: Timing[Answer | str]) -> Iterator[Numbers]:
        """All rows' numbers of this solver on this problem."""
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
    """Checks a solver's coupling and prices it; a number is taken as it is."""
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
    """What all solvers together say, for graphs of unit mass: the best bounds of GW_2^2 and of GW_1.

    `divisor` brings them back to the units of the family: times it for GW_1 and GW_2, times its square for GW_2^2.
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
    """Bounds of GW_1: ggw_mean and the entries' W_1 from below, couplings from above; equal on rank-monotone graphs."""
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
    c, d, _, _ = problem.arrays
    if not isinstance(coupling, Pieces):
        i, j = np.nonzero(coupling)
        if len(i) > 4 * (problem.n + problem.m):
            return None
        coupling = Pieces(*(torch.from_numpy(x) for x in (i, j, coupling[i, j])))
    return float(gw.coupling_cost(torch.from_numpy(c), torch.from_numpy(d), coupling, power=1))
