"""Sequence-level distillation: the pivot is trained on responses that the sources wrote, and on nothing else.

Kim and Rush, Sequence-Level Knowledge Distillation (2016), arXiv:1606.07947. The paper takes the result of beam search;
here each source decodes greedily or draws at random. It needs no common vocabulary, and no logits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from gldbench.jobs import Job, intact
from gldbench.methods import train
from gldbench.methods.method import Inputs, Method
from gldbench.spec import MethodSpec, Spec
from gldfusion.errors import InputError
from gldfusion.files import atomic_write, hash_json, remove, write_json
from gldfusion.manifest import change_manifest, sealed_dir
from gldfusion.paths import hidden
from gldfusion.progress import Progress
from gldfusion.reading import read_json_lines, read_object
from gldfusion.recipe import Model

TEXTS, TOTALS = "responses.jsonl", "totals.json"


class SequenceKDOptions(Model):
    """Options of `sequence_kd`."""

    mix: Literal["all", "one"] = "all"
    """`all`: every prompt comes with the response of every source; `one`: with that of one source, drawn at random"""
    temperature: float = Field(default=0.0, ge=0)
    """the sources draw their responses at this temperature; 0: they decode greedily"""
    seed: int = 0
    """seed of the draws of the sources, which all fused checkpoints share; a temperature of 0 does not read it"""


def names_of(spec: Spec, method: MethodSpec) -> tuple[str, ...]:
    """Names of the sources whose responses the method reads."""
    return method.sources or tuple(spec.world.sources)


def inputs(spec: Spec, method: MethodSpec) -> Inputs:
    """The pivot, and the sources, which write the responses."""
    return Inputs(models=("pivot", *names_of(spec, method)))


def place_of(spec: Spec, method: MethodSpec, world: Path, source: str) -> Path:
    """The folder of the responses of a source to the fusion set. All runs over the same world share it."""
    options = SequenceKDOptions.model_validate(method.options)
    how = [options.temperature, options.seed if options.temperature else None, *_limits(spec)]
    return world / "texts" / f"{source}-{hash_json(how)[:8]}"


def _limits(spec: Spec) -> tuple[int, int]:
    return spec.evaluation.max_tokens, spec.evaluation.batch_size


def before(spec: Spec, method: MethodSpec, world: Path) -> list[Job]:
    """The jobs that let the sources write."""
    jobs = []
    for source in names_of(spec, method):
        place = place_of(spec, method, world, source)
        jobs.append(
            Job(
                name=f"texts {place.name}",
                function=write_texts,
                arguments={"spec": spec, "method": method, "world": world, "source": source},
                done=partial(intact, place, "responses of a source"),
                needs=(f"train {source}", "data"),
                cost=10.0,
            )
        )
    return jobs


def write_texts(spec: Spec, method: MethodSpec, world: Path, source: str, progress: Progress) -> None:
    """Job: a source answers every prompt of the fusion set. A killed call keeps the batches that it finished."""
    from gldbench.evaluate.world import work_of
    from gldbench.generate.backend import Sampling
    from gldbench.generate.checkpoint import open_checkpoint
    from gldbench.generate.generate import responses_for
    from gldbench.methods.weights import Cost
    from gldbench.store import Store
    from gldbench.worlds.build import read_set
    from gldfusion.model import load_model, parameter_count

    cost, place = Cost(), place_of(spec, method, world, source)
    options = SequenceKDOptions.model_validate(method.options)
    max_tokens, batch_size = _limits(spec)
    sampling = Sampling(options.temperature, options.seed) if options.temperature else None
    kept = hidden(place, "store")
    found = responses_for(
        open_checkpoint(world / "models" / source),
        work_of({"fusion": read_set(world, "fusion")}, max_tokens),
        Store(kept),
        subject=source,
        batch_size=batch_size,
        device="cpu",
        progress=progress,
        samplings=(sampling,),
    ).responses
    tokens = sum(response.prompt_tokens + response.output_tokens for response in found)
    size = parameter_count(load_model(world / "models" / source))
    with sealed_dir(place) as folder:
        lines = [
            {"id": response.item_id, "response": response.output, "whole": not response.truncated_output}
            for response in found
        ]
        (folder / TEXTS).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        write_json(folder / TOTALS, cost.totals(tokens=tokens, flops=2 * size * tokens))
    remove(kept)


def written(data: Path, responses: Mapping[str, Mapping[str, str]], mix: str, seed: int) -> list[dict[str, str]]:
    """The examples that the pivot is trained on.

    Args:
        data: the sample of the fusion set; its prompts are used.
        responses: source -> id of a prompt -> its response, where it is complete.
        mix: see `SequenceKDOptions`.
        seed: seed of the draws of a source for each prompt.

    Returns:
        Examples with `id`, `prompt` and `response`. Prompts that no source answered in full are left out.
    """
    random, out = np.random.default_rng([seed, len(responses)]), []
    for record in read_json_lines(data, "sample of the fusion set", "run the same command again"):
        draw = int(random.integers(1 << 30))
        able = [name for name, own in responses.items() if record["id"] in own]
        chosen = able if mix == "all" else [able[draw % len(able)]] if able else []
        for name in chosen:
            text = responses[name][record["id"]]
            out.append({"id": f"{record['id']}/{name}", "prompt": record["prompt"], "response": text})
    return out


def make_sequence_kd(
    spec: Spec, method: MethodSpec, world: Path, data: Path, seed: int, output: Path, progress: Progress
) -> Path:
    """Trains the pivot on the responses of the sources, without distillation terms."""
    from gldfusion.fuse import fuse

    mend = "delete this folder and run the same command again: it is made again"
    options = SequenceKDOptions.model_validate(method.options)
    places = {name: place_of(spec, method, world, name) for name in names_of(spec, method)}
    responses = {name: _complete(place / TEXTS) for name, place in places.items()}
    examples = written(data, responses, options.mix, seed)
    if not examples:
        raise InputError(
            f"no source finished a response within {spec.evaluation.max_tokens} tokens: there is nothing to train on\n"
            "raise evaluation.max_tokens, or train the sources longer"
        )
    texts = data.with_name(f"{output.name}.jsonl")
    with atomic_write(texts) as file:
        file.write("".join(json.dumps(example, ensure_ascii=False) + "\n" for example in examples).encode())
    recipe = train.recipe_of(spec, method, world, texts, seed, output.name)
    trained = hidden(output, "trained")
    if not intact(trained, "fused checkpoint"):
        fuse(recipe, trained, progress)
    totals = read_object(trained / "training_totals.json", "totals of a training", mend) | _cost_of_writing(places)
    write_json(trained / "training_totals.json", totals)
    change_manifest(trained, add=["training_totals.json"])
    os.rename(trained, output)
    return output


def _complete(path: Path) -> dict[str, str]:
    """The responses in a file, by id of the prompt, without those that the token limit cut off."""
    mend = f"delete the folder {path.parent} and run the same command again: it is made again"
    return {line["id"]: line["response"] for line in read_json_lines(path, "responses", mend) if line["whole"]}


def _cost_of_writing(places: Mapping[str, Path]) -> dict[str, float]:
    """What all sources took to answer the whole fusion set, which all seeds and runs over the same world share."""
    mend = "delete this folder and run the same command again: it is made again"
    costs = [read_object(place / TOTALS, "cost of a source", mend) for place in places.values()]
    return {f"source_{name}": sum(cost[name] for cost in costs) for name in ("seconds", "tokens", "flops")}


METHOD = Method(
    make=make_sequence_kd,
    inputs=inputs,
    options=SequenceKDOptions,
    unread=("terms", "control", "lambda_", "k", "on_policy"),
    before=before,
)
