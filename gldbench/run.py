"""An experiment from spec to report: a plan of jobs, each resumable; knows no method or benchmark by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from gldbench.env import claim, environment
from gldbench.evaluate.evaluate import RowLabels
from gldbench.evaluate.world import evaluate_world, training_rows, work_of
from gldbench.jobs import Job, Report, run_jobs
from gldbench.methods import METHODS
from gldbench.methods.train import sources_of
from gldbench.schema import Environment
from gldbench.spec import Spec
from gldbench.store import Store
from gldbench.worlds.build import fusion_sample, models, read_set, world_folder, world_jobs
from gldfusion.errors import InputError, did_you_mean
from gldfusion.files import lock
from gldfusion.progress import Progress


@dataclasses.dataclass(frozen=True)
class Subject:
    """A checkpoint of the run and where its numbers belong."""

    name: str
    method: str
    seed: int
    path: Path


def subjects(spec: Spec, run: Path, world: Path) -> list[Subject]:
    """The world's models, then every method with every seed."""
    base = [Subject(name, name, 0, world / "models" / name) for name in models(spec.world)]
    fused = [
        Subject(f"{method}-seed{seed}", method, seed, run / "checkpoints" / f"{method}-seed{seed}")
        for method in spec.methods
        for seed in spec.fusion.seeds
    ]
    return base + fused


def plan(spec: Spec, run: Path, world: Path, env: Environment) -> list[Job]:
    """All jobs of an experiment, dependencies by name."""
    store = Store(run)
    jobs = world_jobs(spec.world, world)
    for subject in subjects(spec, run, world):
        shared: dict[str, Any] = {"spec": spec, "run": run, "world": world, "subject": subject}
        if subject.method in spec.methods:
            logits = tuple(f"logits {source}" for source in sources_of(spec, spec.methods[subject.method]))
            jobs.append(
                Job(f"fuse {subject.name}", fuse_one, shared, subject.path.is_dir, ("train pivot", *logits), 0.5)
            )
        needs = (f"fuse {subject.name}" if subject.method in spec.methods else f"train {subject.name}", "data")
        done = lambda unit=f"evaluated {subject.name}": store.has(unit)  # noqa: E731
        jobs.append(Job(f"evaluate {subject.name}", evaluate_one, shared | {"env_id": env.env_id}, done, needs, 0.1))
    return jobs


def run_spec(spec: Spec, run: Path, workers: int, threads: int, report: Report) -> list[str]:
    """Runs what is not done yet of an experiment into the folder `run`; returns the names of the jobs that were run.

    Raises InputError where `run` holds another experiment, and whatever stops a job.
    """
    for name, method in spec.methods.items():
        if method.kind not in METHODS:
            raise InputError(
                f'methods.{name}: unknown kind "{method.kind}"{did_you_mean(method.kind, METHODS)}\n'
                f"known: {', '.join(METHODS)}"
            )
    env = environment(threads, workers)
    world = world_folder(spec.world, run.parent / "worlds")
    with lock(run / ".lock"), lock(world / ".lock"):
        claim(run, env, yaml.safe_dump(spec.model_dump(mode="json", by_alias=True), sort_keys=False))
        return run_jobs(plan(spec, run, world, env), workers, threads, report)


def fuse_one(spec: Spec, run: Path, world: Path, subject: Subject, progress: Progress) -> None:
    """Job: one fused checkpoint."""
    data = fusion_sample(world, subject.seed, spec.fusion.examples, run / "data" / f"fusion-seed{subject.seed}.jsonl")
    method = spec.methods[subject.method]
    METHODS[method.kind](spec, method, world, data, subject.seed, subject.path, progress)


def evaluate_one(spec: Spec, run: Path, world: Path, subject: Subject, env_id: str, progress: Progress) -> None:
    """Job: responses, grades and training log of one checkpoint, as rows."""
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
    rows = evaluate_world(subject.path, work, store, labels, spec.evaluation.batch_size, progress)
    store.append_rows([*rows, *training_rows(subject.path, labels)], f"evaluated {subject.name}")
