"""Runs an experiment: makes a plan of jobs from its spec, and runs the jobs that are not done.

The functions of the jobs run in worker processes. The parent process imports no model code.
"""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from gldbench import sandbox
from gldbench.env import claim, environment
from gldbench.evaluate.world import evaluate_world, training_rows, work_of
from gldbench.grade.rows import RowLabels
from gldbench.jobs import Job, Ran, Report, intact, run_jobs
from gldbench.methods import METHODS, check_methods
from gldbench.methods.train import sources_of
from gldbench.schema import Environment
from gldbench.spec import Spec, subjects_of, unit_of
from gldbench.store import Store
from gldbench.worlds.build import check_world, families_of, fusion_sample, read_set, world_folder, world_jobs
from gldbench.worlds.families import FAMILIES
from gldfusion.files import lock, remove_all_leftovers
from gldfusion.progress import Progress


@dataclasses.dataclass(frozen=True)
class Subject:
    """A checkpoint of the run, with the method and the seed of its rows."""

    name: str
    method: str
    seed: int
    path: Path


def subjects(spec: Spec, run: Path, world: Path) -> list[Subject]:
    """All checkpoints of a run: the models of the world, then every method with every seed.

    Args:
        spec: the experiment.
        run: folder of the run.
        world: folder of the world.
    """
    return [
        Subject(name, method, seed, (run / "checkpoints" if method in spec.methods else world / "models") / name)
        for name, method, seed in subjects_of(spec)
    ]


def plan(
    spec: Spec, run: Path, world: Path, env: Environment, *, unsafe_code: bool = False, repeat: bool = False
) -> list[Job]:
    """All jobs of an experiment, done or not.

    Args:
        spec: the experiment.
        run: folder of the run.
        world: folder of the world.
        env: the environment that the rows will name.
        unsafe_code: as in `run_spec`.
        repeat: evaluate all checkpoints, because stored responses were lost. Only these are generated again.
    """
    store = Store(run)
    jobs = world_jobs(spec.world, world)
    for subject in subjects(spec, run, world):
        shared: dict[str, Any] = {"spec": spec, "run": run, "world": world, "subject": subject}
        if subject.method in spec.methods:
            logits = tuple(f"logits {source}" for source in sources_of(spec, spec.methods[subject.method]))
            jobs.append(
                Job(
                    name=f"fuse {subject.name}",
                    function=fuse_one,
                    arguments=shared,
                    done=partial(intact, subject.path, "fused checkpoint"),
                    needs=("train pivot", *logits),
                    cost=0.5,
                )
            )
        needs = (f"fuse {subject.name}" if subject.method in spec.methods else f"train {subject.name}", "data")
        done = (lambda: False) if repeat else partial(store.has, unit_of(subject.name))
        jobs.append(
            Job(
                name=f"evaluate {subject.name}",
                function=evaluate_one,
                arguments=shared | {"env_id": env.env_id, "unsafe_code": unsafe_code},
                done=done,
                needs=needs,
                cost=0.1,
            )
        )
    return jobs


def run_spec(spec: Spec, run: Path, workers: int, threads: int, report: Report, *, unsafe_code: bool = False) -> Ran:
    """Runs all jobs of an experiment that are not done.

    Args:
        spec: the experiment.
        run: folder of the run. The folder `worlds` beside it holds the worlds.
        workers: number of worker processes.
        threads: torch threads of each worker.
        report: is told the state of every job.
        unsafe_code: if there is no sandbox, run model-written code without one; every row then says so.

    Returns:
        The jobs that were run, with their seconds.

    Raises:
        InputError: a method, loss or option is unknown, there is no sandbox, `run` holds another experiment, another
            process uses it, or a file that an earlier process wrote is damaged.
    """
    check_methods(spec)
    check_world(spec.world)
    if any(FAMILIES[name].programs for name in families_of(spec.world)):
        with _code_allowed(unsafe_code):
            sandbox.require()
    env = environment(threads, workers)
    world = world_folder(spec.world, run.parent / "worlds")
    with lock(run / ".lock"), lock(world / ".lock"):
        for folder in (run, world):
            for place in (folder, *filter(Path.is_dir, folder.iterdir())):
                remove_all_leftovers(place)
        claim(run, env, yaml.safe_dump(spec.model_dump(mode="json", by_alias=True), sort_keys=False))
        lost = any(name.startswith("responses/") for name in Store(run).settle())
        return run_jobs(plan(spec, run, world, env, unsafe_code=unsafe_code, repeat=lost), workers, threads, report)


def _code_allowed(unsafe_code: bool) -> AbstractContextManager[None]:
    return sandbox.unsafe_code_allowed() if unsafe_code else nullcontext()


def fuse_one(spec: Spec, run: Path, world: Path, subject: Subject, progress: Progress) -> None:
    """Job: makes one fused checkpoint."""
    data = fusion_sample(world, subject.seed, spec.fusion.examples, run / "data" / f"fusion-seed{subject.seed}.jsonl")
    method = spec.methods[subject.method]
    METHODS[method.kind](spec, method, world, data, subject.seed, subject.path, progress)


def evaluate_one(
    spec: Spec, run: Path, world: Path, subject: Subject, env_id: str, unsafe_code: bool, progress: Progress
) -> None:
    """Job: generates and grades the responses of one checkpoint, and stores its grades and training log as rows."""
    store = Store(run)
    labels = RowLabels(
        run_id=spec.name,
        env_id=env_id,
        suite="world",
        subject=subject.name,
        method=subject.method,
        world_seed=spec.world.seed,
        seed=subject.seed,
    )
    sets = {name: read_set(world, name) for name in spec.evaluation.sets}
    work = work_of(sets, spec.evaluation.max_tokens)
    with _code_allowed(unsafe_code):
        rows = evaluate_world(subject.path, work, store, labels, spec.evaluation.batch_size, progress)
    store.append_rows([*rows, *training_rows(subject.path, labels)], unit_of(subject.name))
