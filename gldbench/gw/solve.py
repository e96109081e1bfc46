"""Computes what is known about one problem: lower and upper bounds, the optimum if possible, and the seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gldbench.gw.couplings import InfeasibleError, upper_bound
from gldbench.gw.exact import Exact, solve_exact
from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.solvers import SOLVERS, Answer, missing, require
from gldfusion import gw

LOWER = ("flb", "anova", "slb", "proj", "tlb", "circulant", "rlt")
UPPER = {
    "sorted": ("sorted",),
    "cg": ("sorted_cg", "pot_cg"),
    "two_opt": ("sorted_two_opt", "circulant_two_opt", "restarts"),
}
"""field of the document -> its solvers; the smallest of their values counts"""
PARTS = (*LOWER, *(name for names in UPPER.values() for name in names), "exact")
"""the solvers that `solve` runs by default"""
SUBNORMAL = 2.0**-1000
"""below this value multiplication by the scale is not exact: lower bounds become 0, and upper bounds become this"""


class _Search(NamedTuple):
    """The bounds of `solve_exact` in the units of the input, and what it did."""

    lower: float
    upper: float
    found: Exact


@dataclass
class _Ledger:
    """The results of the solvers: values in the units of the input, reasons for missing values, and seconds."""

    divisor: float
    """the solvers get the problem divided by this"""
    values: dict[str, float] = field(default_factory=dict)
    why_null: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    search: _Search | None = None

    def unscaled(self, value: float, kind: str) -> float:
        """A value in the units of the input. The factor is a power of 2, so nothing is rounded."""
        result = value * self.divisor**2
        if 0 < result < SUBNORMAL:
            return {"lower": 0.0, "upper": SUBNORMAL}.get(kind, result)
        return result

    def run(self, name: str, compute: Callable[[], float]) -> None:
        """Stores the result of `compute`, a squared distance, or the reason why there is none. Stores its seconds."""
        begun = time.perf_counter()
        try:
            self.values[name] = self.unscaled(compute(), SOLVERS[name].kind)
        except (NotApplicableError, InfeasibleError) as error:
            self.why_null[name] = str(error)
        self.seconds[name] = time.perf_counter() - begun


def solve(
    given: Problem, chosen: Sequence[str] | None = None, budget: float = 60.0, skip_missing: bool = False
) -> dict[str, Any]:
    """The JSON document of `gldbench gw solve`.

    Args:
        given: the problem, with its graphs.
        chosen: names of the SOLVERS to run. Those without a field of their own are listed under "other". None: the
            solvers in PARTS, each up to its largest size.
        budget: seconds for branch and bound.
        skip_missing: a solver whose package is not installed gets no value and the reason in "why_null".

    Returns:
        The document: squared-loss values in POT's convention, in the units of the input.

    Raises:
        InputError: a solver needs a package that is not installed, and `skip_missing` is not set.
    """
    problem, divisor = given.scaled_exactly()
    ledger = _Ledger(divisor)
    solvers = PARTS if chosen is None else chosen
    for name in solvers:
        reason = missing(SOLVERS[name])
        if reason and skip_missing:
            ledger.why_null[name] = reason
            continue
        require(SOLVERS[name], name)
        largest = SOLVERS[name].max_nodes
        if chosen is None and max(problem.n, problem.m) > largest:
            ledger.why_null[name] = f"slow above {largest} nodes: ask for it by name with --solvers"
        elif name == "exact":
            ledger.run(name, lambda: _exact(problem, budget, ledger))
        else:
            ledger.run(name, lambda name=name: _bound(problem, name))
    for name in PARTS:
        if name not in solvers:
            ledger.why_null[name] = "not asked for"
    return _document(given, problem, ledger, solvers)


def _bound(problem: Problem, name: str) -> float:
    """The number that the solver returns, or the cost of its coupling after a check of the marginals."""
    answer: Answer = SOLVERS[name].run(problem)
    if answer.coupling is not None:
        return upper_bound(problem, answer.coupling)
    assert answer.value is not None
    return answer.value


def _exact(problem: Problem, budget: float, ledger: _Ledger) -> float:
    """The optimum. The ledger keeps the search, whose bounds count even if it did not find the optimum."""
    found = solve_exact(problem, budget)
    lower, upper = ledger.unscaled(found.lower, "lower"), ledger.unscaled(upper_bound(problem, found.coupling), "upper")
    ledger.search = _Search(lower, upper, found)
    if found.value is None:
        raise NotApplicableError(found.why_null)
    return found.value


def _document(given: Problem, problem: Problem, ledger: _Ledger, solvers: Sequence[str]) -> dict[str, Any]:
    values, why_null, search = ledger.values, dict(ledger.why_null), ledger.search
    lower: dict[str, float | None] = {name: values.get(name) for name in LOWER}
    upper = _best_upper(values, why_null)
    searched = {} if search is None else {"lower": search.lower, "upper": search.upper}
    interval = _interval(lower | _others(ledger, solvers, "lower"), upper | _others(ledger, solvers, "upper"), searched)
    document = {
        "n": problem.n,
        "m": problem.m,
        "ggw_sum": _ggw_sum(given, why_null),
        "ggw_mean": float(gw.ggw_mean(given.a.features(), given.b.features(), *given.weights)),
        "lower": lower,
        "upper": upper,
        "exact": _clipped(values.get("exact"), interval),
        "interval": interval,
        "nodes": None if search is None else search.found.nodes,
        "search": {"method": None if search is None else search.found.method, **searched},
        "why_null": why_null,
        "seconds": ledger.seconds,
    }
    other = {name: values.get(name) for name in solvers if name not in PARTS and name != "ggw"}
    return document | ({"other": other} if other else {})


def _others(ledger: _Ledger, solvers: Sequence[str], kind: str) -> dict[str, float | None]:
    """The bounds of solvers that were named and have no field of their own: they count in the interval too."""
    named = (name for name in solvers if name not in PARTS and SOLVERS[name].kind == kind)
    return {name: ledger.values.get(name) for name in named}


def _best_upper(values: dict[str, float], why_null: dict[str, str]) -> dict[str, float | None]:
    """The fields of "upper". In `why_null` the reasons of the fields replace those of their solvers."""
    upper: dict[str, float | None] = {}
    for name, parts in UPPER.items():
        known = [values[part] for part in parts if part in values]
        upper[name] = min(known, default=None)
        reasons = [why_null.pop(part) for part in parts if part in why_null]
        if not known:
            why_null[name] = reasons[0]
    return upper


def _ggw_sum(given: Problem, why_null: dict[str, str]) -> float | None:
    if given.n != given.m or not given.uniform:
        why_null["ggw_sum"] = "defined for equal sizes and uniform weights; ggw_mean always is"
        return None
    return float(gw.ggw_sum(given.a.features(), given.b.features()))


def _clipped(exact: float | None, interval: list[float | None]) -> float | None:
    """The optimum, moved into the interval. The true value lies there, so moving it only reduces its rounding error."""
    low, high = interval
    return exact if exact is None or low is None or high is None else min(max(exact, low), high)


def _interval(
    lower: dict[str, float | None], upper: dict[str, float | None], searched: dict[str, float]
) -> list[float | None]:
    """[low, high] around GW_2^2. The lower end is at least 0. The upper end is None if no solver bounds it.

    Every bound includes its proven rounding error, so a lower bound above an upper one is a bug, at any distance.
    """
    low = max([0.0, *(x for x in (*lower.values(), searched.get("lower")) if x is not None)])
    high = min((x for x in (*upper.values(), searched.get("upper")) if x is not None), default=None)
    if high is not None and low > high:
        raise RuntimeError(f"certificates contradict each other: lower bound {low!r} above upper bound {high!r}")
    return [low, high]
