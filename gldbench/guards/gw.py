"""The regression guard of the Gromov-Wasserstein part: values to rounding, speeds as ratios inside one run.

A baseline holds, for a small fixed set of problems, every solver's value and its time over that of a reference solver
in the same run. The smallest of the interleaved samples counts: other work on the machine only adds. What looks slow is
measured again, and only what stays slow is reported.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gldbench.env import environment
from gldbench.guards.baseline import CheckResult, Move, moved_values, read_baseline
from gldbench.gw.couplings import InfeasibleError, upper_bound
from gldbench.gw.families import FAMILIES
from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.solvers import SOLVERS, Answer, missing
from gldbench.timing import Timing, interleaved, pinned_threads
from gldfusion.files import write_json

FORMAT = 1
REFERENCE = "factored"
"""its time is the unit of all others: three products of matrices in BLAS"""
PROBLEMS = (
    ("synthetic-rank-raw", 64),
    ("synthetic-rank-logprob", 64),
    ("synthetic-vocabulary-raw", 10),
    ("euclidean", 10),
)
"""family and size"""
GUARDED = ("ggw", "flb", "anova", "slb", "proj", "tlb", "sorted", "sorted_cg", "sorted_two_opt", "exact", "pot_cg")
"""deterministic solvers, which end within milliseconds on these problems"""
ROUNDING = 1e-13
"""absolute, on graphs of unit mass"""
SLOWER = 1.6
"""a ratio that grew by more than this factor is a regression"""
SLOWER_ELSEWHERE = 4.0
"""the same against a baseline from another environment, where BLAS and processor differ"""
SLOWER_SECONDS = 3.0
"""the same for the reference's own seconds; asked only in the baseline's environment and at its commit"""
REPEATS = 9
TRIES = 8
"""measurements before what looks slow is believed to be"""
PAUSE = 0.5
"""seconds before the next try: other work that disturbs one may be gone at the next"""


def check_gw(baseline: Path, update: bool) -> CheckResult:
    """Compares this code with the baseline in a file, or writes a new one.

    Raises:
        InputError: there is no baseline, or it is of another format.
    """
    with pinned_threads():
        problems = _problems()
        if update:
            write_json(baseline, _fresh(problems))
            return CheckResult((), 0, (f"wrote {baseline}",))
        before = read_baseline(baseline, {"format": FORMAT, "reference": REFERENCE})
        notes = _notes(before["environment"])
        same = before["environment"]["env_id"] == environment(1, 1).env_id
        moves, compared = _compare(problems, before, SLOWER if same else SLOWER_ELSEWHERE)
        if not notes:
            moves += _reference_moves(problems, before["seconds"])
            compared += len(before["seconds"])
    return CheckResult(tuple(moves), compared, notes)


def _problems() -> dict[str, Problem]:
    return {f"{name}/{n}": FAMILIES[name](n, np.random.default_rng(0)).to_unit_mass()[0] for name, n in PROBLEMS}


def _fresh(problems: dict[str, Problem]) -> dict[str, Any]:
    """A baseline: the slower of two measurements of each ratio, so that luck in it does not flag clean runs."""
    values = {name: _values(problem) for name, problem in problems.items()}
    runs = [{name: _ratios(problem, list(values[name])) for name, problem in problems.items()} for _ in range(2)]
    ratios = {name: {s: max(run[name][s] for run in runs) for s in runs[0][name]} for name in problems}
    env = dataclasses.asdict(environment(1, 1))
    seconds = {name: _reference_seconds(problem) for name, problem in problems.items()}
    numbers = {"values": values, "ratios": ratios, "seconds": seconds}
    return {"format": FORMAT, "environment": env, "reference": REFERENCE, **numbers}


def _notes(before: dict[str, Any]) -> tuple[str, ...]:
    """Says where the baseline is not from here: its seconds mean nothing then."""
    here = environment(1, 1)
    differences = []
    if before["env_id"] != here.env_id:
        margin = f"ratios may grow {SLOWER_ELSEWHERE:g} times"
        differences.append(f"environment ({before['env_id']}, now {here.env_id}; {margin})")
    if before["commit"] != here.commit:
        differences.append(f"commit ({str(before['commit'])[:10]}, now {str(here.commit)[:10]})")
    if not differences:
        return ()
    what = "values and ratios are compared, seconds are not"
    return (f"the baseline is from another {' and '.join(differences)}: {what}",)


def _values(problem: Problem) -> dict[str, float]:
    """Every guarded solver's value; a coupling counts with its cost, an infeasible one as NaN."""
    found = {}
    for name in GUARDED:
        if missing(SOLVERS[name]):
            continue
        with suppress(NotApplicableError):
            answer = SOLVERS[name].run(problem)
            found[name] = _value(problem, answer)
    return found


def _value(problem: Problem, answer: Answer) -> float:
    if answer.value is not None:
        return answer.value
    assert answer.coupling is not None
    try:
        return upper_bound(problem, answer.coupling)
    except InfeasibleError:
        return math.nan


def _ratios(problem: Problem, solvers: Sequence[str]) -> dict[str, float]:
    """Smallest sample of each solver over that of the reference."""
    tasks = {name: (lambda name=name: SOLVERS[name].run(problem)) for name in dict.fromkeys([REFERENCE, *solvers])}
    timings: dict[str, Timing[Any]] = interleaved(tasks, REPEATS, budget=math.inf)
    return {name: timings[name].best / timings[REFERENCE].best for name in solvers}


def _compare(problems: dict[str, Problem], before: dict[str, Any], factor: float) -> tuple[list[Move], int]:
    moves: list[Move] = []
    compared = 0
    for case, problem in problems.items():
        values, expected = _values(problem), before["values"].get(case, {})
        ratios = before["ratios"].get(case, {})
        compared += len(ratios)
        moved, count = moved_values({case: values}, {case: expected}, ROUNDING)
        moves += moved
        compared += count
        slow = _slow(problem, {s: r for s, r in ratios.items() if s in values}, factor)
        moves += [Move(case, s, "ratio", ratios[s], now, f"x {factor:g}") for s, now in slow.items()]
    return moves, compared


def _slow(problem: Problem, expected: dict[str, float], factor: float) -> dict[str, float]:
    """Solvers whose ratio stays above its limit in every try, with the smallest ratio seen."""
    suspects, seen = list(expected), dict.fromkeys(expected, math.inf)
    for attempt in range(TRIES):
        if not suspects:
            break
        time.sleep(PAUSE * min(attempt, 1))
        for name, ratio in _ratios(problem, suspects).items():
            seen[name] = min(seen[name], ratio)
        suspects = [name for name in suspects if seen[name] > factor * expected[name]]
    return {name: seen[name] for name in suspects}


def _reference_seconds(problem: Problem) -> float:
    """The reference solver's smallest sample."""
    run = SOLVERS[REFERENCE].run
    return interleaved({REFERENCE: lambda: run(problem)}, REPEATS, budget=math.inf)[REFERENCE].best


def _reference_moves(problems: dict[str, Problem], expected: dict[str, float]) -> list[Move]:
    """Where the reference itself became slow, which no ratio would show."""
    moves = []
    for case, before in expected.items():
        now = math.inf
        for _ in range(TRIES):
            now = min(now, _reference_seconds(problems[case]))
        if now > SLOWER_SECONDS * before:
            moves.append(Move(case, REFERENCE, "seconds", before, now, f"x {SLOWER_SECONDS:g}"))
    return moves
