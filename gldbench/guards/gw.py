"""The regression guard of the Gromov-Wasserstein part. It compares values up to rounding, and speeds as ratios.

A baseline holds numbers for a small fixed set of problems: the value of every guarded solver, and the ratio of its time
to that of a reference solver in the same run. The smallest of several interleaved samples counts, because other work on
the machine only adds time. A solver that looks slow is measured again, and is reported only if it stays slow. If the
machine is busy in these measurements, the speed is inconclusive: it is listed, and does not fail.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gldbench.env import environment
from gldbench.guards.baseline import CheckResult, Move, moved_values, read_baseline
from gldbench.gw.couplings import InfeasibleError, upper_bound
from gldbench.gw.families import FAMILIES
from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.solvers import SOLVERS, Answer, missing
from gldbench.timing import Timing, interleaved, pinned_threads
from gldfusion.errors import InputError
from gldfusion.files import write_json
from gldfusion.reading import shown

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
QUIET = 3
"""of these measurements at least so many must have found a quiet machine; otherwise the speed is inconclusive"""
SPREAD = 1.5
"""the machine is busy if the median sample of the reference is more than this many times its smallest sample"""
SHARE = 0.9
"""the machine is busy if this process had less than this share of one core while it measured"""
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
        before = read_baseline(
            baseline, {"format": FORMAT, "reference": REFERENCE}, needs=("values", "ratios", "seconds")
        )
        if strange := sorted(before["seconds"].keys() - problems.keys()):
            raise InputError(
                f"{baseline} has seconds of an unknown problem {shown(strange[0])}\noverwrite it with --update"
            )
        notes = _notes(before["environment"])
        same = before["environment"]["env_id"] == environment(1, 1).env_id
        found = _compare(problems, before, SLOWER if same else SLOWER_ELSEWHERE)
        if not notes:
            _compare_seconds(problems, before["seconds"], found)
    notes += tuple(f"a speed is inconclusive: {reason}" for reason in dict.fromkeys(found.reasons))
    return CheckResult(
        moves=tuple(found.moves),
        compared=found.compared,
        notes=notes,
        new=tuple(found.new),
        inconclusive=tuple(found.inconclusive),
    )


class Measurement(NamedTuple):
    """One measurement of speeds."""

    ratios: dict[str, float]
    """the smallest sample of each solver over that of the reference solver"""
    seconds: float
    """the smallest sample of the reference solver"""
    busy: str
    """how one can see that other work disturbed the measurement; "" if nothing shows that"""


class Slow(NamedTuple):
    """A speed that was worse than its limit in every measurement."""

    now: float
    """the best measured"""
    busy: str
    """"" if enough measurements found a quiet machine, otherwise what disturbed the last of the others"""


@dataclasses.dataclass
class _Found:
    """The results of the comparison."""

    moves: list[Move] = dataclasses.field(default_factory=list)
    new: list[Move] = dataclasses.field(default_factory=list)
    inconclusive: list[Move] = dataclasses.field(default_factory=list)
    reasons: list[str] = dataclasses.field(default_factory=list)
    compared: int = 0

    def add_slow(self, move: Move, busy: str) -> None:
        """Lists a speed as moved, or as inconclusive if the machine was busy."""
        (self.inconclusive if busy else self.moves).append(move)
        if busy:
            self.reasons.append(busy)


def _problems() -> dict[str, Problem]:
    return {f"{name}/{n}": FAMILIES[name](n, np.random.default_rng(0)).to_unit_mass()[0] for name, n in PROBLEMS}


def _fresh(problems: dict[str, Problem]) -> dict[str, Any]:
    """Makes a baseline. It keeps the larger of two measured ratios, so that clean runs are not flagged by chance."""
    values = {name: _values(problem) for name, problem in problems.items()}
    runs = [{k: _measure(problem, list(values[k])).ratios for k, problem in problems.items()} for _ in range(2)]
    ratios = {name: {s: max(run[name][s] for run in runs) for s in runs[0][name]} for name in problems}
    env = dataclasses.asdict(environment(1, 1))
    seconds = {name: _measure(problem, []).seconds for name, problem in problems.items()}
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


def _measure(problem: Problem, solvers: Sequence[str]) -> Measurement:
    """Times solvers and the reference solver in turn, and looks for signs that the machine is busy."""
    tasks = {name: (lambda name=name: SOLVERS[name].run(problem)) for name in dict.fromkeys([REFERENCE, *solvers])}
    wall, own = time.perf_counter(), time.process_time()
    timings: dict[str, Timing[Any]] = interleaved(tasks, REPEATS, budget=math.inf)
    share = (time.process_time() - own) / max(time.perf_counter() - wall, 1e-9)
    reference = timings[REFERENCE]
    ratios = {name: timings[name].best / reference.best for name in solvers}
    return Measurement(ratios, reference.best, _busy(reference.median / reference.best, share))


def _busy(spread: float, share: float) -> str:
    """The sign that the machine is busy, or "".

    Args:
        spread: median sample of the reference over its smallest sample.
        share: of one core that this process had.
    """
    if spread > SPREAD:
        return f"the samples of {REFERENCE} spread: their median is {spread:.2g} times the smallest"
    if share < SHARE:
        return f"other work took the processor: this process had {share:.0%} of one core"
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"the load of the machine is {load:.2g} on {cores} cores" if load > cores else ""


def _compare(problems: dict[str, Problem], before: dict[str, Any], factor: float) -> _Found:
    """Compares the values, and the ratios of which none may have grown by more than `factor`."""
    found = _Found()
    for case, problem in problems.items():
        values, expected = _values(problem), before["values"].get(case, {})
        ratios = before["ratios"].get(case, {})
        moved, fresh, count = moved_values({case: values}, {case: expected}, ROUNDING)
        found.moves += moved
        found.new += fresh
        found.compared += count + len(ratios)
        for name, slow in _slow(problem, {s: factor * r for s, r in ratios.items() if s in values}).items():
            move = Move(case, name, what="ratio", before=ratios[name], now=slow.now, limit=f"x {factor:g}")
            found.add_slow(move, slow.busy)
    return found


def _slow(problem: Problem, limits: dict[str, float]) -> dict[str, Slow]:
    """The solvers whose ratio is above its limit in every measurement."""
    suspects, seen = list(limits), dict.fromkeys(limits, math.inf)
    quiet, busy = 0, ""
    for attempt in range(TRIES):
        if not suspects:
            break
        time.sleep(PAUSE * min(attempt, 1))
        measured = _measure(problem, suspects)
        quiet, busy = quiet + (not measured.busy), measured.busy or busy
        for name, ratio in measured.ratios.items():
            seen[name] = min(seen[name], ratio)
        suspects = [name for name in suspects if seen[name] > limits[name]]
    return {name: Slow(seen[name], "" if quiet >= QUIET else busy) for name in suspects}


def _compare_seconds(problems: dict[str, Problem], expected: dict[str, float], found: _Found) -> None:
    """Compares the seconds of the reference itself. If it became slow, no ratio would show that."""
    for case, before in expected.items():
        found.compared += 1
        measured = [_measure(problems[case], [])]
        while len(measured) < TRIES and min(m.seconds for m in measured) > SLOWER_SECONDS * before:
            measured.append(_measure(problems[case], []))
        now = min(m.seconds for m in measured)
        if now > SLOWER_SECONDS * before:
            signs = [m.busy for m in measured if m.busy]
            limit = f"x {SLOWER_SECONDS:g}"
            move = Move(case=case, subject=REFERENCE, what="seconds", before=before, now=now, limit=limit)
            found.add_slow(move, signs[-1] if len(measured) - len(signs) < QUIET else "")
