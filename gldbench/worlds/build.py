"""Builds the embedded world on disk: sets of instances, models trained from scratch, and stored source logits.

The name of a world's folder contains a hash of everything that determines the world. All runs with the same world share
the folder. The jobs import torch themselves: they run in worker processes, and the parent process does not need it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gldbench.jobs import Job
from gldbench.spec import ModelSpec, WorldSpec
from gldbench.worlds.families import FAMILIES
from gldbench.worlds.families.family import Instance
from gldbench.worlds.sets import fingerprint, make_sets, mixture, noisy_labels
from gldfusion.files import atomic_dir, atomic_write, hash_json
from gldfusion.progress import Progress
from gldfusion.recipe import Recipe

GENERATION = 1
"""raise this when a change of tokenizers, initialisation or training makes other models from the same spec"""


def world_folder(world: WorldSpec, worlds: Path) -> Path:
    """The folder of this world, which may not exist yet.

    Args:
        world: the spec of the world.
        worlds: folder of all worlds.
    """
    return worlds / f"world-{hash_json([GENERATION, fingerprint(), world.model_dump(mode='json', by_alias=True)])[:12]}"


def models(world: WorldSpec) -> dict[str, ModelSpec]:
    """All models of the world, by name."""
    return {"pivot": world.pivot, **world.sources, "control": world.control}


def world_jobs(world: WorldSpec, folder: Path) -> list[Job]:
    """The jobs that build the world: data, then models, then the stored logits of the sources and the control."""
    shared: dict[str, Any] = {"world": world, "folder": folder}
    jobs = [Job("data", make_data, shared, (folder / "data").is_dir, cost=100.0)]
    for name, spec in models(world).items():
        cost = spec.train.steps * spec.train.batch_size * spec.layers * spec.hidden**2 / 1e9
        jobs.append(
            Job(
                name=f"train {name}",
                function=train_model,
                arguments=shared | {"name": name},
                done=(folder / "models" / name).is_dir,
                needs=("data",),
                cost=cost,
            )
        )
        if name != "pivot":
            done = (folder / "cache" / name / "complete").is_file
            jobs.append(
                Job(
                    name=f"logits {name}",
                    function=store_logits,
                    arguments=shared | {"name": name},
                    done=done,
                    needs=(f"train {name}",),
                    cost=50.0,
                )
            )
    return jobs


def make_data(world: WorldSpec, folder: Path, progress: Progress) -> None:
    """Job: writes the six sets, the training texts of each model, and the fusion set with its wrong labels."""
    sets = make_sets(world.seed, {str(name): size for name, size in world.sets.items()})
    with atomic_dir(folder / "data") as data:
        for name, instances in sets.items():
            _write(data / f"set-{name}.jsonl", (_instance(i) for i in instances))
        for index, (name, spec) in enumerate(models(world).items()):
            own = spec.families or tuple(FAMILIES)
            others = tuple(f for f in FAMILIES if f not in own)
            texts = mixture(
                sets[spec.set],
                own,
                others,
                count=spec.examples,
                seed=world.seed * 100 + index,
                share_own=spec.share_own if others else 1.0,
            )
            _write(
                data / f"train-{name}.jsonl", ({"id": i.id, "prompt": i.prompt, "response": i.response} for i in texts)
            )
        noisy = noisy_labels(sets["fusion"], world.wrong_labels, world.seed)
        _write(
            data / "fusion.jsonl",
            (
                {"id": n.instance.id, "prompt": n.instance.prompt, "response": n.response, "wrong": n.wrong}
                for n in noisy
            ),
        )


def train_model(world: WorldSpec, folder: Path, name: str, progress: Progress) -> None:
    """Job: initialises a model and trains it on its texts. The control has the pivot's tokenizer."""
    from gldbench.worlds.models import initialise
    from gldfusion.data import read_examples
    from gldfusion.fuse import fuse

    spec = models(world)[name]
    data = folder / "data" / f"train-{name}.jsonl"
    start = folder / "init" / name
    if not start.is_dir():
        like_pivot = folder / "data" / "train-pivot.jsonl" if name == "control" else data
        texts = [part for e in read_examples(like_pivot)[:4000] for part in (e.prompt, e.response)]
        initialise(spec, texts, world.seed * 100 + list(models(world)).index(name), start)
    recipe = Recipe(name=name, pivot=start, data=data, train=spec.train)
    fuse(recipe, folder / "models" / name, progress)


def store_logits(world: WorldSpec, folder: Path, name: str, progress: Progress) -> None:
    """Job: runs a source on the whole fusion set and stores its top-k logits."""
    from gldfusion.cache import build_cache
    from gldfusion.data import read_examples

    examples = read_examples(folder / "data" / "fusion.jsonl")
    cache = folder / "cache" / name
    build_cache(
        folder / "models" / name, cache, examples, world.k, models(world)[name].train.max_length, progress=progress
    )
    (cache / "complete").touch()


def fusion_sample(folder: Path, seed: int, size: int, output: Path) -> Path:
    """Writes the sample of the fusion set for one seed, drawn without replacement, unless the file exists.

    Args:
        folder: folder of the world.
        seed: the seed of the draw.
        size: number of examples.
        output: the data file to write.

    Returns:
        `output`.
    """
    if not output.exists():
        lines = (folder / "data" / "fusion.jsonl").read_text().splitlines()
        chosen = np.random.default_rng([seed, len(lines)]).permutation(len(lines))[:size]
        _write(output, (json.loads(lines[i]) for i in sorted(chosen.tolist())))
    return output


def read_set(folder: Path, name: str) -> list[Instance]:
    """Reads the instances of one set from the folder of a world."""
    records = [json.loads(line) for line in (folder / "data" / f"set-{name}.jsonl").read_text().splitlines()]
    return [Instance(**record | {"tests": tuple((i, o) for i, o in record["tests"])}) for record in records]


def _instance(instance: Instance) -> dict[str, Any]:
    return {name: getattr(instance, name) for name in instance.__dataclass_fields__}


def _write(path: Path, records: Any) -> None:
    with atomic_write(path, "w") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
