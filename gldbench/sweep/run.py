"""Runs a sweep: makes a plan of jobs, and runs those that are not done, with any engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import yaml

from gldbench import sandbox
from gldbench.engines import engine_named
from gldbench.env import claim, environment
from gldbench.grade.judges.rouge import METRIC
from gldbench.jobs import Job, Ran, Report, intact
from gldbench.schema import Item, Row, Task
from gldbench.store import Store
from gldbench.sweep.definition import Sweep, fusions, recipe_of
from gldbench.sweep.jobs import SUITE, cache_one, cached_mark, evaluate_one, fuse_one, unit_of
from gldbench.sweep.sets import load_set
from gldbench.tasks import expand, load_items, load_task, take
from gldfusion.files import lock
from gldfusion.recipe_paths import check_cache_paths

Work = list[tuple[Task, list[Item]]]


@dataclass(frozen=True)
class SweepOptions:
    """What a call of a sweep may choose. Nothing of it changes a result, but for `limit`."""

    only: tuple[str, ...] = ()
    """names of the fusions to run; empty: all"""
    data: str | None = None
    """folder of benchmark files, or "hub"; None: benchmarks are left out"""
    limit: int | None = None
    """most items of each set and benchmark; None: all"""
    workers: int = 1
    threads: int = 1
    engine: str = "processes"


def run_sweep(sweep: Sweep, run: Path, options: SweepOptions, report: Report) -> Ran:
    """Runs all jobs of a sweep that are not done.

    Args:
        sweep: the sweep.
        run: folder of the run.
        options: what to run, and how.
        report: is told the state of every job.

    Raises:
        InputError: a model, a file or a setting is not as it should be, or `run` holds another sweep.
    """
    engine = engine_named(options.engine)
    work = _work(sweep, options)
    env = environment(options.threads, options.workers)
    with lock(run / ".lock"):
        jobs = plan_jobs(sweep, run, work, options, env.env_id)
        chosen = {"items": {task.name: len(items) for task, items in work}}
        spec = sweep.model_dump(mode="json") | {"only": list(options.only), "limit": options.limit} | chosen
        claim(run, env, yaml.safe_dump(spec, sort_keys=False))
        Store(run).settle()
        return engine(jobs, options.workers, options.threads, report)


def plan_jobs(sweep: Sweep, run: Path, work: Work, options: SweepOptions, env_id: str) -> list[Job]:
    """All jobs of a sweep, done or not. No job comes before one that it needs.

    Args:
        sweep: the sweep.
        run: folder of the run.
        work: the tasks with their items.
        options: what to run.
        env_id: the environment that the rows name.

    Raises:
        InputError: the common recipe is wrong, or the data or a model that a fusion needs does not exist.
    """
    store = Store(run)
    caches: dict[str, Job] = {}
    users: dict[str, list[Path]] = {}
    fused: list[Job] = []
    asked: dict[str, Job] = {}

    def ask(name: str, path: Path, made: bool, needs: tuple[str, ...]) -> None:
        arguments = {"name": name, "path": path, "run": run, "run_id": sweep.name, "env_id": env_id, "work": work}
        done = partial(store.has, unit_of(name))
        asked[name] = Job(f"evaluate {name}", evaluate_one, arguments | {"fused": made}, done, needs, cost=0.2)

    for name, (pivot, sources) in fusions(sweep).items():
        if options.only and name not in options.only:
            continue
        recipe = recipe_of(sweep, name, run)
        check_cache_paths(recipe)
        path = run / "checkpoints" / name
        for source in sources:
            users.setdefault(source, []).append(path)
            arguments = {"recipe": recipe, "run": run, "source": source}
            done = partial(_not_needed, cached_mark(run, source), users[source])
            caches.setdefault(source, Job(f"cache {source}", cache_one, arguments, done))
        needs = tuple(f"cache {source}" for source in sources)
        done = partial(intact, path, "fused checkpoint")
        fused.append(Job(f"fuse {name}", fuse_one, {"recipe": recipe, "path": path}, done, needs))
        ask(name, path, True, (f"fuse {name}",))
        ask(pivot, sweep.pivots[pivot].checkpoint, False, ())
    return [*caches.values(), *fused, *asked.values()]


def _not_needed(mark: Path, users: Sequence[Path]) -> bool:
    """Whether a cache is complete, or all checkpoints that are fused with it are there."""
    return mark.is_file() or all(path.is_dir() for path in users)


def _work(sweep: Sweep, options: SweepOptions) -> Work:
    """The sets and benchmarks of a sweep, with their items."""
    evaluation = sweep.evaluation
    work = [load_set(n, file, evaluation.max_tokens, options.limit) for n, file in evaluation.sets.items()]
    if options.data is None:
        return work
    source: Path | Literal["hub"] = "hub" if options.data == "hub" else Path(options.data)
    tasks = [load_task(name) for name in expand(evaluation.tasks)]
    if any(task.scorer == "code" for task in tasks):
        sandbox.require()
    return work + [(task, take(load_items(task, source), options.limit)) for task in tasks]


def scores(run: Path) -> list[tuple[str, str, int, float]]:
    """(checkpoint, set or benchmark, items, mean headline score) of a run, in the order in which they were stored."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in Store(run).rows():
        if row.suite == SUITE and _is_headline(row):
            found.setdefault((row.subject, row.task), []).append(row.value or 0.0)
    return [(subject, task, len(own), sum(own) / len(own)) for (subject, task), own in sorted(found.items())]


def _is_headline(row: Row) -> bool:
    """Whether a row is the headline score of its item."""
    if row.metric == METRIC:
        return True
    headline = load_task(row.task).headline
    return (row.grader, row.filter, row.metric) == (headline.grader, headline.filter, headline.metric)
