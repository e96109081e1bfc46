"""Builds the embedded world on disk: sets of instances, models trained from scratch, and stored source logits.

The name of a world's folder contains a hash of everything that determines the world. All runs with the same world share
the folder. The jobs import torch themselves: they run in worker processes, and the parent process does not need it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from gldbench.jobs import Job, intact
from gldbench.spec import WorldSpec, models_of
from gldbench.worlds.families import FAMILIES
from gldbench.worlds.families.family import Instance
from gldbench.worlds.sets import fingerprint, limited, make_sets, mixture, noisy_labels
from gldfusion.errors import InputError, require_known
from gldfusion.files import atomic_write, hash_json
from gldfusion.manifest import sealed_dir
from gldfusion.progress import Progress
from gldfusion.reading import one_line, read_bytes, read_json_lines
from gldfusion.recipe import DataPart, Recipe, steps_of

GENERATION = 2
"""raise this when a change of tokenizers, initialisation, training or data makes another world from the same spec"""

TOKENIZER_TEXTS = 4000
"""the tokenizer of a model is trained on so many of its texts"""


def world_folder(world: WorldSpec, worlds: Path) -> Path:
    """The folder of this world, which may not exist yet.

    Args:
        world: the spec of the world.
        worlds: folder of all worlds.
    """
    text = world.model_dump(mode="json", by_alias=True)
    return worlds / f"world-{hash_json([GENERATION, fingerprint(families_of(world)), text])[:12]}"


def families_of(world: WorldSpec) -> tuple[str, ...]:
    """The names of the task families of a world."""
    return world.families or tuple(FAMILIES)


def check_world(world: WorldSpec) -> None:
    """Checks the families of a world and who shares a tokenizer with whom, before anything is made.

    Raises:
        InputError: a task family is unknown, a model has a family of its own that the world does not have, or a model
            shares the tokenizer of a model that shares one itself.
    """
    models, families = models_of(world), families_of(world)
    for family in families:
        require_known("task family", family, FAMILIES)
    for name, model in models.items():
        for family in (*model.families, *model.parts):
            require_known("task family of this world", family, families)
        for family, parts in model.parts.items():
            if not FAMILIES[family].parts:
                raise InputError(f"parts: {family} has none\nlimit another family, or remove it from `parts`")
            for part in parts:
                require_known(f"part of {family}", part, FAMILIES[family].parts)
        owner = models.get(model.tokenizer)
        if owner and owner.tokenizer in models:
            raise InputError(
                f"{name} shares the tokenizer of {model.tokenizer}, which shares that of {owner.tokenizer}\n"
                f"name a model that has a tokenizer of its own"
            )


def world_jobs(world: WorldSpec, folder: Path) -> list[Job]:
    """The jobs that build the world: data, then models, then the stored logits of the sources and the control."""
    shared: dict[str, Any] = {"world": world, "folder": folder}
    jobs = [Job("data", make_data, shared, partial(intact, folder / "data", "world data"), cost=100.0)]
    for name, spec in models_of(world).items():
        cost = steps_of(spec.train, spec.examples) * spec.train.batch_size * spec.layers * spec.hidden**2 / 1e9
        jobs.append(
            Job(
                name=f"train {name}",
                function=train_model,
                arguments=shared | {"name": name},
                done=partial(intact, folder / "models" / name, "checkpoint of the world"),
                needs=("data", f"train {spec.base}") if spec.base else ("data",),
                cost=cost,
            )
        )
        if name != "pivot" and name not in world.specialists:
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
    families = families_of(world)
    sets = make_sets(world.seed, {str(name): size for name, size in world.sets.items()}, families)
    with sealed_dir(folder / "data") as data:
        for name, instances in sets.items():
            _write(data / f"set-{name}.jsonl", (_instance(i) for i in instances))
        for index, (name, spec) in enumerate(models_of(world).items()):
            own = spec.families or families
            others = tuple(f for f in families if f not in own)
            texts = mixture(
                limited(sets[spec.set], spec.parts),
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
                {
                    "id": n.instance.id,
                    "group": n.instance.family,
                    "prompt": n.instance.prompt,
                    "response": n.response,
                    "wrong": n.wrong,
                }
                for n in noisy
            ),
        )


def train_model(world: WorldSpec, folder: Path, name: str, progress: Progress) -> None:
    """Job: trains a model on its texts, from its base or from random weights."""
    from gldbench.worlds.models import initialise
    from gldfusion.data import read_examples
    from gldfusion.fuse import fuse

    models = models_of(world)
    spec, owner = models[name], tokenizer_owner(world, name)
    start = folder / "models" / spec.base if spec.base else folder / "init" / name
    if not spec.base and not intact(start, "untrained model of the world"):
        sample = read_examples(folder / "data" / f"train-{owner}.jsonl")[:TOKENIZER_TEXTS]
        texts = [part for e in sample for part in (e.prompt, e.response)]
        own = spec.model_copy(update={"tokenizer": models[owner].tokenizer})
        initialise(own, texts, world.seed * 100 + list(models).index(name), start)
    recipe = Recipe(
        name=name, pivot=start, data=(DataPart(path=folder / "data" / f"train-{name}.jsonl"),), train=spec.train
    )
    fuse(recipe, folder / "models" / name, progress)


def tokenizer_owner(world: WorldSpec, name: str) -> str:
    """The model on whose texts the tokenizer of a model is trained: itself, or the model whose tokenizer it shares."""
    models = models_of(world)
    if name == "control":
        return "pivot"
    return models[name].tokenizer if models[name].tokenizer in models else name


def store_logits(world: WorldSpec, folder: Path, name: str, progress: Progress) -> None:
    """Job: runs a source on the whole fusion set and stores its top-k logits."""
    from gldfusion.cache import build_cache
    from gldfusion.data import read_examples

    examples = read_examples(folder / "data" / "fusion.jsonl")
    cache = folder / "cache" / name
    build_cache(
        folder / "models" / name, cache, examples, world.k, models_of(world)[name].train.max_length, progress=progress
    )
    (cache / "complete").touch()


def fusion_sample(folder: Path, seed: int, size: int, output: Path) -> Path:
    """Writes the sample of the fusion set for one seed, drawn without replacement, unless the file holds it already.

    Args:
        folder: folder of the world.
        seed: the seed of the draw.
        size: number of examples.
        output: the data file to write.

    Returns:
        `output`.
    """
    records = list(read_json_lines(folder / "data" / "fusion.jsonl", "fusion set", _mend(folder)))
    chosen = np.random.default_rng([seed, len(records)]).permutation(len(records))[:size]
    content = _lines(records[i] for i in sorted(chosen.tolist()))
    if not output.exists() or read_bytes(output, "sample of the fusion set", f"delete {output}") != content:
        with atomic_write(output) as file:
            file.write(content)
    return output


def read_set(folder: Path, name: str) -> list[Instance]:
    """Reads the instances of one set from the folder of a world.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = folder / "data" / f"set-{name}.jsonl"
    records = list(read_json_lines(path, "set of the world", _mend(folder)))
    try:
        return TypeAdapter(list[Instance]).validate_python(records)
    except ValidationError as error:
        first = error.errors()[0]
        where = one_line(".".join(map(str, first["loc"])), 80)
        raise InputError(f"{path} is damaged: row {where}: {one_line(first['msg'], 200)}\n{_mend(folder)}") from None


def _mend(folder: Path) -> str:
    return f"delete the folder {folder / 'data'} and run `gldbench run` again: it is made again"


def _instance(instance: Instance) -> dict[str, Any]:
    return {name: getattr(instance, name) for name in instance.__dataclass_fields__}


def _lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def _write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with atomic_write(path) as file:
        file.write(_lines(records))
