"""Runs an experiment: makes a plan of jobs from its spec, and runs the jobs that are not done.

A spec with a block `tuning` first runs its trials, in a folder that all runs with the same settings share. The
functions of the jobs run in worker processes. The parent process imports no model code, unless the engine is `serial`.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from gldbench import sandbox
from gldbench.checkpoint_jobs import code_allowed, evaluate_one, fuse_one
from gldbench.engines import engine_named
from gldbench.env import claim, environment
from gldbench.jobs import Job, Ran, Report, intact, together
from gldbench.methods import METHODS, check_methods
from gldbench.protocol.arms import possible_methods, require_declared, resolved_methods
from gldbench.protocol.forecast import note_seconds
from gldbench.protocol.tuned import Tuning, read_tuning, take_tuning, write_tuning
from gldbench.protocol.tuning import tune, tuning_key
from gldbench.report.scores import mean_scores
from gldbench.schema import Environment, Row
from gldbench.spec import Spec, Subject, subjects_of, unit_of, worlds_of
from gldbench.store import Store
from gldbench.tasks import load_task
from gldbench.worlds.build import check_world, families_of, world_folder, world_jobs
from gldbench.worlds.families import FAMILIES
from gldfusion.files import atomic_write, lock, remove_all_leftovers

LOST = "lost-responses.txt"
"""file of a run that names the parts of responses that were lost, while they are repeated"""


@dataclass(frozen=True)
class Machine:
    """How the jobs of a run are run. Nothing of it changes a result."""

    workers: int = 1
    """number of worker processes"""
    threads: int = 1
    """torch threads of each worker"""
    engine: str = "processes"
    """key of `engines.ENGINES`"""
    unsafe_code: bool = False
    """if there is no sandbox, run model-written code without one; every row then says so"""


def world_folders(spec: Spec, run: Path) -> dict[int, Path]:
    """The folders of the worlds of a run, by world seed: in the folder `worlds` beside the run."""
    return {seed: world_folder(world, run.parent / "worlds") for seed, world in worlds_of(spec).items()}


def checkpoint_of(spec: Spec, subject: Subject, run: Path, worlds: Mapping[int, Path]) -> Path:
    """The folder of a checkpoint of a run.

    Args:
        spec: the experiment.
        subject: one of its subjects.
        run: folder of the run.
        worlds: the folders of its worlds, by world seed.
    """
    if subject.method in spec.methods:
        return run / "checkpoints" / subject.name
    return worlds[subject.world_seed] / "models" / subject.method


def plan(
    spec: Spec, run: Path, worlds: Mapping[int, Path], env: Environment, *, unsafe_code: bool, repeat: bool = False
) -> list[Job]:
    """All jobs of an experiment, done or not. No job comes before one that it needs.

    Args:
        spec: the experiment, with resolved methods.
        run: folder of the run.
        worlds: the folders of its worlds, by world seed.
        env: the environment that the rows will name.
        unsafe_code: as in `Machine`.
        repeat: evaluate all checkpoints, because stored responses were lost. Only these are generated again.
    """
    store, jobs = Store(run), []
    for seed, world in worlds_of(spec).items():
        jobs += [_in_world(job, spec, seed) for job in world_jobs(world, worlds[seed])]
    for subject in subjects_of(spec):
        own = spec.model_copy(update={"world": worlds_of(spec)[subject.world_seed]})
        path = checkpoint_of(spec, subject, run, worlds)
        shared: dict[str, Any] = {
            "spec": own,
            "run": run,
            "world": worlds[subject.world_seed],
            "subject": subject,
            "path": path,
        }
        job = Job(
            name=f"evaluate {subject.name}",
            function=evaluate_one,
            arguments=shared | {"env_id": env.env_id, "unsafe_code": unsafe_code},
            done=(lambda: False) if repeat else partial(store.has, unit_of(subject.name)),
            needs=(*_world_needs(spec, subject, "data"),),
            cost=0.1,
        )
        if subject.method in spec.methods:
            method = spec.methods[subject.method]
            kind = METHODS[method.kind]
            reads = kind.inputs(own, method)
            first = [_in_world(one, spec, subject.world_seed) for one in kind.before(own, method, shared["world"])]
            known = {one.name for one in jobs}
            jobs += [one for one in first if one.name not in known]
            models = [f"train {model}" for model in reads.models]
            logits = [f"logits {source}" for source in reads.logits]
            needs = _world_needs(spec, subject, *models, *logits)
            fuse = Job(
                name=f"fuse {subject.name}",
                function=fuse_one,
                arguments=shared,
                done=partial(intact, path, "fused checkpoint"),
                needs=(*needs, *(one.name for one in first)),
                cost=0.5,
            )
            jobs += [fuse, dataclasses.replace(job, needs=(*job.needs, fuse.name))]
        else:
            stored = {*spec.world.sources, "control"}  # the size of their stored logits is a row of the evaluation
            kind = "logits" if subject.method in stored else "train"
            model = _world_needs(spec, subject, f"{kind} {subject.method}")
            jobs.append(dataclasses.replace(job, needs=(*job.needs, *model)))
    return jobs


def _world_needs(spec: Spec, subject: Subject, *names: str) -> tuple[str, ...]:
    return tuple(name + _of_world(spec, subject.world_seed) for name in names)


def _of_world(spec: Spec, seed: int) -> str:
    return f" of world {seed}" if spec.worlds else ""


def _in_world(job: Job, spec: Spec, seed: int) -> Job:
    suffix = _of_world(spec, seed)
    return dataclasses.replace(job, name=job.name + suffix, needs=tuple(need + suffix for need in job.needs))


def run_spec(spec: Spec, run: Path, machine: Machine, report: Report) -> Ran:
    """Runs all jobs of an experiment that are not done.

    Args:
        spec: the experiment.
        run: folder of the run. The folders `worlds` and `tuning` beside it hold the worlds and the trials.
        machine: how the jobs are run.
        report: is told the state of every job.

    Returns:
        The jobs that were run, with their seconds.

    Raises:
        InputError: a method, loss or option is unknown, methods differ in something undeclared, there is no sandbox,
            `run` holds another experiment, another process uses it, or a file that an earlier process wrote is damaged.
    """
    engine_named(machine.engine)
    for methods in possible_methods(spec):
        check_methods(spec.model_copy(update={"methods": methods}))
    check_world(spec.world)
    require_declared(spec, resolved_methods(spec, {}))
    if any(FAMILIES[name].programs for name in families_of(spec.world)):
        with code_allowed(machine.unsafe_code):
            sandbox.require()
    env = environment(machine.threads, machine.workers)
    with lock(run / ".lock"):
        _tidy(run)
        claim(run, env, yaml.safe_dump(spec.model_dump(mode="json", by_alias=True), sort_keys=False))
        tuning, ran = read_tuning(run), Ran()
        if tuning is None and spec.weights_from is not None:
            tuned = [name for name, method in spec.methods.items() if method.terms and method.tuned]
            tuning = take_tuning(run, run.with_name(spec.weights_from), tuned)
        if tuning is None and spec.tuning is not None:
            tuning, ran = _tuned(spec, run, env, machine, report)
            note_seconds(spec, run, ran)
            write_tuning(run, tuning)
        last = _run_jobs(settled(spec, tuning), run, env, machine, report)
        note_seconds(spec, run, last)
        return together(ran, last)


def settled(spec: Spec, tuning: Tuning | None) -> Spec:
    """The experiment with resolved methods, and with the learning rate that was chosen.

    Args:
        spec: the experiment.
        tuning: what was chosen; None if nothing was tuned.
    """
    methods = resolved_methods(spec, tuning.choices if tuning else {})
    train = spec.fusion.train
    if tuning is not None and tuning.learning_rate is not None:
        train = train.model_copy(update={"learning_rate": tuning.learning_rate})
    return spec.model_copy(update={"methods": methods, "fusion": spec.fusion.model_copy(update={"train": train})})


def tuning_folder(spec: Spec, run: Path) -> Path:
    """The folder of the trials of a spec. Specs whose trials could be the same share it."""
    return run.parent / "tuning" / f"tuning-{tuning_key(spec)}"


def trial_rows(spec: Spec, run: Path) -> list[Row]:
    """The rows of the trials so far of a spec; none if it does not tune, or nothing was tried."""
    if spec.tuning is None or not tuning_folder(spec, run).is_dir():
        return []
    return Store(tuning_folder(spec, run)).rows()


def _tuned(spec: Spec, run: Path, env: Environment, machine: Machine, report: Report) -> tuple[Tuning, Ran]:
    """Runs the trials of a spec and chooses among them."""
    folder = tuning_folder(spec, run)
    ran: list[Ran] = []

    def execute(trials: Spec) -> dict[str, list[float]]:
        ran.append(_run_jobs(trials, folder, env, machine, report))
        rows = Store(folder).rows()
        chance = {task: load_task(task).chance for task in {row.task for row in rows if row.suite == "world"}}
        scores: dict[str, list[float]] = defaultdict(list)
        for (method, _, _), score in sorted(mean_scores(rows, "validation", chance).items()):
            scores[method].append(score)
        return scores

    with lock(folder / ".lock"):
        _tidy(folder)
        claim(folder, env)
        return tune(spec, execute), together(*ran)


def _run_jobs(spec: Spec, run: Path, env: Environment, machine: Machine, report: Report) -> Ran:
    """Runs the jobs of a settled spec in a folder that this process has locked."""
    worlds = world_folders(spec, run)
    with ExitStack() as locks:
        for world in worlds.values():
            locks.enter_context(lock(world / ".lock"))
        _tidy(*worlds.values())
        lost = _lost_responses(run)
        Store(run).settle()
        jobs = plan(spec, run, worlds, env, unsafe_code=machine.unsafe_code, repeat=lost)
        ran = engine_named(machine.engine)(jobs, machine.workers, machine.threads, report)
        (run / LOST).unlink(missing_ok=True)
        return ran


def _lost_responses(run: Path) -> bool:
    """Whether stored responses were lost and are not repeated yet.

    The file `LOST` says so before `settle` takes the lost parts off the manifest, and until all jobs are done: a
    process that is killed meanwhile does not make the next one forget the loss.
    """
    gone = Store(run).missing("responses")
    if gone:
        with atomic_write(run / LOST) as file:
            file.write("".join(f"{name}\n" for name in gone).encode())
    return (run / LOST).is_file()


def _tidy(*folders: Path) -> None:
    """Deletes what killed processes left half-written."""
    for folder in folders:
        for place in (folder, *filter(Path.is_dir, folder.iterdir())):
            remove_all_leftovers(place)
