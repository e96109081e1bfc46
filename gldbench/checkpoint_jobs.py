"""The jobs of one checkpoint of an experiment: making it and evaluating it. They run in worker processes."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from gldbench import sandbox
from gldbench.evaluate.world import cache_row, evaluate_world, training_rows, work_of
from gldbench.grade.rows import RowLabels
from gldbench.methods import METHODS
from gldbench.spec import Spec, Subject, unit_of
from gldbench.store import Store
from gldbench.worlds.build import fusion_sample, read_set
from gldfusion.progress import Progress


def code_allowed(unsafe_code: bool) -> AbstractContextManager[None]:
    """A context in which model-written code may run without a sandbox, if `unsafe_code` is true."""
    return sandbox.unsafe_code_allowed() if unsafe_code else nullcontext()


def fuse_one(spec: Spec, run: Path, world: Path, subject: Subject, path: Path, progress: Progress) -> None:
    """Job: makes one fused checkpoint."""
    method = spec.methods[subject.method]
    draw = subject.seed if method.sample_seed is None else method.sample_seed
    suffix = f"-world{subject.world_seed}" if spec.worlds else ""
    data = fusion_sample(world, draw, spec.fusion.examples, run / "data" / f"fusion-seed{draw}{suffix}.jsonl")
    METHODS[method.kind].make(spec, method, world, data, subject.seed, path, progress)


def evaluate_one(
    spec: Spec,
    run: Path,
    world: Path,
    subject: Subject,
    path: Path,
    env_id: str,
    unsafe_code: bool,
    progress: Progress,
) -> None:
    """Job: generates and grades the responses of one checkpoint, and stores its grades and training log as rows."""
    store = Store(run)
    labels = RowLabels(
        run_id=spec.name,
        env_id=env_id,
        suite="world",
        subject=subject.name,
        method=subject.method,
        world_seed=subject.world_seed,
        seed=subject.seed,
    )
    sets = {name: read_set(world, name) for name in spec.evaluation.sets}
    if spec.worlds:  # items of several worlds are different items
        prefix = f"world{subject.world_seed}/"
        sets = {n: [dataclasses.replace(i, id=prefix + i.id) for i in own] for n, own in sets.items()}
    work = work_of(sets, spec.evaluation.max_tokens)
    with code_allowed(unsafe_code):
        rows = evaluate_world(path, work, store, labels, spec.evaluation.batch_size, progress)
    rows += training_rows(path, labels)
    cache = world / "cache" / subject.method
    if subject.method not in spec.methods and (cache / "complete").is_file():
        rows.append(cache_row(cache, labels))
    store.append_rows(rows, unit_of(subject.name))
