"""The regression guard of the Gromov-Wasserstein part. It compares values up to rounding, and speeds as ratios.

A baseline holds numbers for a small fixed set of problems: the value of every guarded solver, and the ratio of its time
to that of a reference solver in the same run. The smallest of several interleaved samples counts, because other work on
the machine only adds time. A solver that looks slow is measured again, and is reported only if it stays slow.
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
"""solver whose time is the unit of all others; it is dominated by matrix products in BLAS"""
PROBLEMS = (
    ("synthetic-rank-raw", 64),
    ("synthetic-rank-logprob", 64),
    ("synthetic-vocabulary-raw", 10),
    ("euclidean", 10),
)
"""families and sizes (nodes)"""
GUARDED = ("ggw", "flb", "anova", "slb", "proj", "tlb", "sorted", "sorted_cg", "sorted_two_opt", "exact", "pot_cg")
"""deterministic solvers that take milliseconds on these problems"""
ROUNDING = 1e-13
"""absolute tolerance of values, for graphs of unit mass"""
SLOWER = 1.6
"""a ratio that grew by more than this factor counts as a regression"""
SLOWER_ELSEWHERE = 4.0
"""the factor for a baseline from another environment, whose BLAS and processor differ"""
SLOWER_SECONDS = 3.0
"""the factor for the seconds of the reference, which are compared only in the environment and at the commit of the
baseline"""
REPEATS = 9
"""samples per measurement"""
TRIES = 8
"""a solver is reported as slow if it is slow in this many measurements"""
PAUSE = 0.5
"""seconds between measurements, in which disturbing work on the machine may end"""


def check_gw(baseline: Path, update: bool) -> CheckResult:
    """Compares the solvers with a baseline, or writes a new baseline.

    Args:
        baseline: JSON file.
        update: overwrite the file instead of comparing with it.

    Raises:
        InputError: the file does not exist, or is not a baseline of this format.
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
    """Makes a baseline. It keeps the larger of two measured ratios, so that clean runs are not flagged by chance."""
    values = {name: _values(problem) for name, problem in problems.items()}
    runs = [{name: _ratios(problem, list(values[name])) for name, problem in problems.items()} for _ in range(2)]
    ratios = {name: {s: max(run[name][s] for run in runs) for s in runs[0][name]} for name in problems}
    env = dataclasses.asdict(environment(1, 1))
    seconds = {name: _reference_seconds(problem) for name, problem in problems.items()}
    numbers = {"values": values, "ratios": ratios, "seconds": seconds}
    return {"format": FORMAT, "environment": env, "reference": REFERENCE, **numbers}


def _notes(before: dict[str, Any]) -> tuple[str, ...]:
    """A note if the baseline is from another environment or commit. Its seconds are not compared then."""
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
    """The value of every guarded solver that is installed and applies: a number, or the cost of a coupling."""
    found = {}
    for name in GUARDED:
        if missing(SOLVERS[name]):
            continue
        with suppress(NotApplicableError):
            answer = SOLVERS[name].run(problem)
            found[name] = _value(problem, answer)
    return found


def _value(problem: Problem, answer: Answer) -> float:
    """The number, or the cost of the coupling. NaN if the marginals of the coupling are wrong."""
    if answer.value is not None:
        return answer.value
    assert answer.coupling is not None
    try:
        return upper_bound(problem, answer.coupling)
    except InfeasibleError:
        return math.nan


def _ratios(problem: Problem, solvers: Sequence[str]) -> dict[str, float]:
    """The smallest sample of each solver over that of the reference solver."""
    tasks = {name: (lambda name=name: SOLVERS[name].run(problem)) for name in dict.fromkeys([REFERENCE, *solvers])}
    timings: dict[str, Timing[Any]] = interleaved(tasks, REPEATS, budget=math.inf)
    return {name: timings[name].best / timings[REFERENCE].best for name in solvers}


def _compare(problems: dict[str, Problem], before: dict[str, Any], factor: float) -> tuple[list[Move], int]:
    """The values that moved and the ratios that grew by more than `factor`, and how many numbers were compared."""
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
        limit = f"x {factor:g}"
        moves += [
            Move(case=case, subject=name, what="ratio", before=ratios[name], now=now, limit=limit)
            for name, now in slow.items()
        ]
    return moves, compared


def _slow(problem: Problem, expected: dict[str, float], factor: float) -> dict[str, float]:
    """The solvers whose ratio is above its limit in every measurement, with the smallest ratio measured."""
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
    """The smallest sample of the reference solver."""
    run = SOLVERS[REFERENCE].run
    return interleaved({REFERENCE: lambda: run(problem)}, REPEATS, budget=math.inf)[REFERENCE].best


def _reference_moves(problems: dict[str, Problem], expected: dict[str, float]) -> list[Move]:
    """The problems on which the reference itself became slow. No ratio would show that."""
    moves = []
    for case, before in expected.items():
        now = math.inf
        for _ in range(TRIES):
            now = min(now, _reference_seconds(problems[case]))
        if now > SLOWER_SECONDS * before:
            limit = f"x {SLOWER_SECONDS:g}"
            moves.append(Move(case=case, subject=REFERENCE, what="seconds", before=before, now=now, limit=limit))
    return moves
