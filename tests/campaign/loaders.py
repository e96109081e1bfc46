"""`LOADERS`: every function that reads a file that a person, a disk or another program may have changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.campaign import mutate


@dataclass(frozen=True)
class Loader:
    """A function that reads a file."""

    files: str
    """pattern of the files below the samples; a trial changes one of them"""
    change: Callable[[bytes, Random], bytes]
    read: Callable[[Path, Path], object]
    """reads; takes the copy of the samples, and the changed file"""
    light: bool = False
    """needs neither torch nor a folder that a command made: the short form has it"""


def _task(root: Path, file: str = "toy.jsonl") -> tuple[object, object]:
    from gldbench.tasks import load_task

    os.environ["GLDBENCH_TASKS"] = str(root.parent / "tasks")
    return load_task("toy"), file


def _task_yaml(root: Path, path: Path) -> object:
    """The task of the changed file, and the prompts of its items."""
    import dataclasses

    from gldbench.tasks import load_items
    from gldbench.tasks.read_yaml import read_task

    task = read_task(path)
    plain = root / "files"
    return load_items(dataclasses.replace(task), plain, allow_changed=True) if task.dataset.kind == "file" else task


def _data(root: Path, path: Path) -> object:
    from gldbench.tasks import load_items

    task, _ = _task(root)
    hidden = root / "files" / "toy.jsonl"
    if path.suffix == ".gz":  # it is read only where the plain file is absent
        hidden.rename(hidden.with_suffix(".away"))
    try:
        return load_items(task, root / "files", allow_changed=True)  # pyright: ignore[reportArgumentType]
    finally:
        if path.suffix == ".gz":
            hidden.with_suffix(".away").rename(hidden)


def _responses(root: Path, path: Path) -> object:
    from gldbench.evaluate.foreign.own import read_outputs
    from gldbench.tasks import load_items

    task, _ = _task(root)
    items = load_items(task, root / "files")  # pyright: ignore[reportArgumentType]
    return read_outputs(path, task, items)  # pyright: ignore[reportArgumentType]


def _spec(root: Path, path: Path) -> object:
    from gldbench.spec import load_spec

    return load_spec(str(path))


def _recipe(root: Path, path: Path) -> object:
    from gldfusion.recipe import load_recipe

    return load_recipe(path)


def _bench(root: Path, path: Path) -> object:
    from gldbench.gw.spec import load_bench

    return load_bench(str(path))


def _examples(root: Path, path: Path) -> object:
    from gldfusion.data import read_examples

    return read_examples(path)


def _cases(root: Path, path: Path) -> object:
    from gldbench.selftest.given import read_cases

    return read_cases(path)


def _new_task(root: Path, path: Path) -> object:
    from gldbench.tasks.new import new_task

    return new_task(path, "made", root.parent / "made" / f"{os.getpid()}-{path.stat().st_mtime_ns}")


def _store(root: Path, path: Path) -> object:
    """All rows, responses and plans of the store that the changed file belongs to."""
    from gldbench.store import Store

    store = Store(path.parents[1])
    return store.rows(), store.responses(), store.plans(4), store.has("x")


def _compare(root: Path, path: Path) -> object:
    from gldbench.compare.read import read_side

    return read_side(str(path.parents[1]))


def _items(root: Path, path: Path) -> object:
    from gldbench.items.read import read_items

    return read_items([str(path.parents[1])])


def _report(root: Path, path: Path) -> object:
    from gldbench.report import read_run

    return read_run(root / "run/out")


def _claim(root: Path, path: Path) -> object:
    from gldbench.env import claim, environment

    return claim(path.parent, environment(1, 1))


def _baseline(root: Path, path: Path) -> object:
    from gldbench.guards.baseline import read_baseline

    return read_baseline(path, {})


def _array(root: Path, path: Path) -> object:
    from gldbench.gw.real import read_array

    return read_array(path)


def _cache_meta(root: Path, path: Path) -> object:
    from gldfusion.cache import SourceCache, cache_stat

    return cache_stat(path.parent), SourceCache("s", path.parent).meta


def _cache_verify(root: Path, path: Path) -> object:
    from gldfusion.cache import verify_cache

    return verify_cache(path.parent)


def _cache_read(root: Path, path: Path) -> object:
    from gldfusion.cache import SourceCache
    from gldfusion.data import read_examples

    return SourceCache("s", path.parent).read(read_examples(root / "files/texts.jsonl"))


def _world_set(root: Path, path: Path) -> object:
    from gldbench.worlds.build import read_set

    return read_set(path.parents[1], path.stem.removeprefix("set-"))


def _checkpoint(root: Path, path: Path) -> object:
    from gldbench.generate.checkpoint import open_checkpoint

    return open_checkpoint(path.parent)


def _training_log(root: Path, path: Path) -> object:
    from gldbench.evaluate.world import training_rows
    from gldbench.grade.rows import RowLabels

    labels = RowLabels(run_id="r", env_id="e", suite="s", subject="s", method="m")
    return training_rows(path.parent, labels)


LOADERS: dict[str, Loader] = {
    "spec": Loader("files/small.yaml", mutate.yaml_document, _spec, light=True),
    "recipe": Loader("files/recipe.yaml", mutate.yaml_document, _recipe, light=True),
    "bench": Loader("files/bench.yaml", mutate.yaml_document, _bench),
    "task": Loader("files/task.yaml", mutate.yaml_document, _task_yaml, light=True),
    "spec of a run": Loader("run/out/spec.yaml", mutate.yaml_document, _report),
    "environment": Loader("run/out/environment.json", mutate.json_document, _report),
    "environment of an eval": Loader("eval/out/environment.json", mutate.json_document, _claim),
    "data": Loader("files/toy.jsonl", mutate.json_lines, _data, light=True),
    "packed data": Loader("files/toy.jsonl.gz", mutate.packed(mutate.json_lines), _data, light=True),
    "responses": Loader("files/responses.jsonl", mutate.json_lines, _responses, light=True),
    "texts": Loader("files/texts.jsonl", mutate.json_lines, _examples),
    "conversations": Loader("files/conversations.jsonl", mutate.json_lines, _examples),
    "cases": Loader("files/cases.jsonl", mutate.json_lines, _cases, light=True),
    "a new task": Loader("files/toy.jsonl", mutate.json_lines, _new_task, light=True),
    "rows": Loader("eval/out/rows/part-*.parquet", mutate.parquet, _store),
    "stored responses": Loader("eval/out/responses/part-*.parquet", mutate.parquet, _store),
    "plans": Loader("eval/out/plans/plan-*.json", mutate.json_document, _store),
    "compared rows": Loader("eval/out/rows/part-*.parquet", mutate.parquet, _compare),
    "items": Loader("eval/out/responses/part-*.parquet", mutate.parquet, _items),
    "rows of a report": Loader("run/out/rows/part-*.parquet", mutate.parquet, _report),
    "array": Loader("files/logits.npy", mutate.raw, _array),
    "meta of a cache": Loader("cache/cache/meta.json", mutate.json_document, _cache_meta),
    "shard": Loader("cache/cache/shard-*.safetensors", mutate.raw, _cache_read),
    "verified shard": Loader("cache/cache/shard-*.safetensors", mutate.raw, _cache_verify),
    "world": Loader("run/worlds/*/data/set-test.jsonl", mutate.json_lines, _world_set),
    "config of a checkpoint": Loader("fuse/out/config.json", mutate.json_document, _checkpoint),
    "tokenizer": Loader("fuse/out/tokenizer.json", mutate.json_document, _checkpoint),
    "config of a tokenizer": Loader("fuse/out/tokenizer_config.json", mutate.json_document, _checkpoint),
    "training log": Loader("fuse/out/training_log.jsonl", mutate.json_lines, _training_log),
    "training totals": Loader("fuse/out/training_totals.json", mutate.json_document, _training_log),
}
