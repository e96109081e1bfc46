"""The Gromov-Wasserstein bench: runs solvers on families of graph pairs and stores rows with every raw sample."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml

from gldbench.env import claim, environment
from gldbench.gw.families import FAMILIES, Family
from gldbench.gw.measure import Measured, Numbers, measured, problem_facts
from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.solvers import SOLVERS, Answer, missing
from gldbench.gw.spec import BenchSpec, CaseSpec
from gldbench.jobs import Report
from gldbench.schema import Row
from gldbench.store import Store
from gldbench.timing import interleaved, pinned_threads
from gldfusion.files import lock


@dataclass(frozen=True)
class Case:
    """One problem of the bench, and the solvers that are run on it."""

    family: str
    size: int
    instance: int
    device: str
    solvers: tuple[str, ...]
    budget: float
    """seconds for the repeats of one solver"""
    once: Mapping[str, float]
    """solver -> seconds that one run may take although its repeats exceed the budget"""

    @property
    def name(self) -> str:
        """Names the part file in which the rows of this case are stored."""
        return f"{self.family} {self.size} {self.instance} {self.device}"


@dataclass
class _Bench:
    """The state that the cases share: the settings, and the time that each solver took when it last ran."""

    spec: BenchSpec
    env_id: str
    families: Mapping[str, Family]
    last: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    """(solver, family) -> nodes and median seconds"""


def run_bench(spec: BenchSpec, folder: Path, real: Mapping[str, Family], report: Report) -> Store:
    """Runs the cases that are not stored in `folder` yet, on one thread, and stores their rows.

    Args:
        spec: the bench.
        folder: of the run. It is created if it does not exist.
        real: families of real logits. The cases of families that are neither here nor in FAMILIES become skipped rows.
        report: called with the progress of each case.

    Returns:
        The store of the run.

    Raises:
        InputError: `folder` holds another bench, or a bench from another environment.
    """
    env = environment(threads=1, workers=1)
    store = Store(folder)
    bench = _Bench(spec, env.env_id, {**FAMILIES, **real})
    with lock(folder / ".lock"):
        claim(folder, env, yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
        cases = list(plan(spec))
        for case in cases:
            report(case.name, 0, 1)
        with pinned_threads():
            for case in cases:
                if not store.has(case.name):
                    store.append_rows(run_case(bench, case), case.name)
                report(case.name, 1, 1)
    return store


def plan(spec: BenchSpec) -> Iterator[Case]:
    """The cases on the CPU and, if there is a GPU, the cases on it with the solvers that can use it."""
    for entry in spec.cases:
        solvers = entry.solvers or tuple(SOLVERS)
        for family in entry.families:
            for size in entry.sizes:
                for instance in range(entry.instances):
                    yield Case(
                        family=family,
                        size=size,
                        instance=instance,
                        device="cpu",
                        solvers=solvers,
                        budget=_budget(spec, entry),
                        once=entry.once,
                    )
                    if torch.cuda.is_available():
                        able = tuple(name for name in solvers if SOLVERS[name].gpu)
                        yield Case(
                            family=family,
                            size=size,
                            instance=instance,
                            device="cuda",
                            solvers=able,
                            budget=_budget(spec, entry),
                            once=entry.once,
                        )


def _budget(spec: BenchSpec, entry: CaseSpec) -> float:
    """The seconds of a case: its own, or those of the bench."""
    return spec.budget if entry.budget is None else entry.budget


def run_case(bench: _Bench, case: Case) -> list[Row]:
    """Runs one case. Its rows hold seconds, values, memory, the certified interval, and reasons for skipped solvers."""
    seed = [bench.spec.seed, zlib.crc32(case.family.encode()), case.size, case.instance]
    try:
        if case.family not in bench.families:
            raise NotApplicableError("no real logits were given (--run, or --pivot and --source)")
        given = bench.families[case.family](case.size, np.random.default_rng(seed))
    except NotApplicableError as reason:
        return [_row(bench, case, None, "problem", "", _skip(str(reason)))]
    problem, divisor = given.to_unit_mass()
    problem = problem.to(case.device)
    skipped = {name: reason for name in case.solvers if (reason := _why_not(bench, case, name, problem))}
    tasks = {name: _task(name, problem) for name in case.solvers if name not in skipped}
    timings = interleaved(tasks, bench.spec.repeats, case.budget, torch.device(case.device))
    found: dict[str, Measured] = {}
    for name, timing in timings.items():
        if isinstance(timing.result, str):
            skipped[name] = timing.result
        else:
            bench.last[name, case.family] = max(problem.n, problem.m), timing.median
            found[name] = measured(problem, SOLVERS[name].kind, timing)
    row = partial(_row, bench, case, problem)
    rows = [row(name, SOLVERS[name].kind, _skip(reason)) for name, reason in skipped.items()]
    for name, result in found.items():
        rows += [row(name, SOLVERS[name].kind, numbers) for numbers in result.numbers(timings[name])]
    facts = problem_facts(problem, divisor, {name: (SOLVERS[name].kind, m) for name, m in found.items()})
    return rows + [row("problem", "", Numbers(name, value)) for name, value in facts.items()]


def _skip(reason: str) -> Numbers:
    return Numbers("value", None, status="skipped", reason=reason)


def _task(name: str, problem: Problem) -> Callable[[], Answer | str]:
    """A call of the solver on the problem. If the solver does not apply, the result of the call is the reason."""

    def task() -> Answer | str:
        try:
            return SOLVERS[name].run(problem)
        except NotApplicableError as reason:
            return str(reason)

    return task


def _why_not(bench: _Bench, case: Case, name: str, problem: Problem) -> str:
    """The reason for which a solver is not started, or ""."""
    solver, size = SOLVERS[name], max(problem.n, problem.m)
    if reason := missing(solver):
        return reason
    if size > solver.max_nodes:
        return f"not run above {solver.max_nodes} nodes"
    nodes, seconds = bench.last.get((name, case.family), (size, 0.0))
    expected = seconds * max(1.0, size / nodes) ** solver.growth
    if expected > max(2 * case.budget, case.once.get(name, 0.0)):
        return f"past the budget: expected to take {expected:.2g} s of {case.once.get(name, case.budget):g} s"
    return ""


def _row(bench: _Bench, case: Case, problem: Problem | None, subject: str, kind: str, numbers: Numbers) -> Row:
    return Row(
        run_id=f"gw-{bench.spec.name}",
        env_id=bench.env_id,
        suite="gw",
        task=case.family,
        task_version=1,
        variant=case.device,
        subject=subject,
        method=kind,
        world_seed=bench.spec.seed,
        seed=case.instance,
        item=f"{case.size}" if problem is None else f"{problem.n}x{problem.m}",
        cluster=case.family,
        grader="gw",
        filter=numbers.part,
        metric=numbers.metric,
        value=numbers.value,
        unit=numbers.unit,
        status=numbers.status,
        reason=numbers.reason,
    )
