"""What all methods that merge weights share: which models they merge, reading these, and writing the result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gldbench.methods.method import Inputs
from gldbench.spec import MethodSpec, Spec, models_of
from gldfusion.errors import InputError
from gldfusion.hashes import hash_checkpoint

if TYPE_CHECKING:  # only workers load torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from gldfusion.memory import PeakMemory

CARD = """---
library_name: transformers
tags: [model-merging, gldbench]
---
# {name}

{how}

Hashes of the merged models, settings and package versions: `fusion.json`. Made with gldbench.
"""
PACKAGES = ("torch", "transformers", "safetensors", "gldbench")


def merged_names(spec: Spec, method: MethodSpec) -> tuple[str, ...]:
    """Names of the models that a method merges: those it names, else all specialists that have a base."""
    return method.sources or tuple(name for name, model in spec.world.specialists.items() if model.base)


def inputs(spec: Spec, method: MethodSpec) -> Inputs:
    """The merged models and their base."""
    return Inputs(models=(*merged_names(spec, method), base_of(spec, method)))


def base_of(spec: Spec, method: MethodSpec) -> str:
    """Name of the model from which all merged models were trained.

    Raises:
        InputError: fewer than two models are named, one has no base, or their bases differ.
    """
    names = merged_names(spec, method)
    if len(names) < 2:
        raise InputError(
            f"merging needs at least two models, got {', '.join(names) or 'none'}\n"
            "give the world two specialists with the same `base`, or name two models in `sources`"
        )
    bases = {name: models_of(spec.world)[name].base for name in names}
    for name, base in bases.items():
        if base is None:
            raise InputError(
                f"{name} was not trained from a base, so averages of its weights with others mean nothing\n"
                "merge models that name the same `base` in the world"
            )
    if len(set(bases.values())) > 1:
        raise InputError(
            f"the merged models have different bases: {', '.join(f'{name} has {base}' for name, base in bases.items())}"
            "\nmerge models that name the same `base` in the world"
        )
    return str(bases[names[0]])


def check_weights(weights: Mapping[str, float], names: tuple[str, ...]) -> None:
    """Checks that the option `weights` names every merged model once, and that the weights can be normalised.

    Raises:
        InputError: it does not, or their sum is not above 0.
    """
    if weights and set(weights) != set(names):
        raise InputError(
            f"options.weights names {', '.join(weights)}; expected a weight for each of {', '.join(names)}\n"
            "name exactly the merged models, or leave weights out: then all are equal"
        )
    if weights and sum(weights.values()) <= 0:
        raise InputError(f"options.weights: the sum must be above 0, got {sum(weights.values()):g}\nraise a weight")


def shares_of(weights: Mapping[str, float], names: tuple[str, ...]) -> dict[str, float]:
    """The share of each model, with the sum 1; equal shares if there are no weights."""
    whole = sum(weights.values()) if weights else float(len(names))
    return {name: (weights[name] if weights else 1.0) / whole for name in names}


def read_alike(folders: Mapping[str, Path]) -> tuple[dict[str, PreTrainedModel], PreTrainedTokenizerFast]:
    """Loads models whose weights can be merged entry by entry, in float32.

    Args:
        folders: name of a model -> its checkpoint.

    Returns:
        The models by name, and the tokenizer of the first.

    Raises:
        InputError: a checkpoint cannot be read, or two differ in architecture, vocabulary, or names or shapes of
            weights.
    """
    from gldfusion.model import load_model, load_tokenizer, vocabulary_hash

    models = {name: load_model(path) for name, path in folders.items()}
    tokenizers = {name: load_tokenizer(path) for name, path in folders.items()}
    first, *others = folders
    shapes = {
        name: {key: tuple(value.shape) for key, value in parameters(model).items()} for name, model in models.items()
    }
    for name in others:
        kinds = [models[one].config.model_type for one in (first, name)]
        if kinds[0] != kinds[1]:
            raise _different(first, name, f"the architectures {kinds[0]} and {kinds[1]}")
        if vocabulary_hash(tokenizers[first]) != vocabulary_hash(tokenizers[name]):
            raise _different(first, name, "different vocabularies")
        for key in sorted(shapes[first].keys() | shapes[name].keys()):
            ours, theirs = shapes[first].get(key), shapes[name].get(key)
            if ours != theirs:
                raise _different(first, name, f"the weight {key} of shapes {ours} and {theirs}")
    return models, tokenizers[first]


def _different(first: str, second: str, what: str) -> InputError:
    return InputError(
        f"{first} and {second} cannot be merged: they have {what}\n"
        "merge models that were trained from the same base, without changes of their shape or their tokenizer"
    )


def parameters(model: PreTrainedModel) -> dict[str, Tensor]:
    """The parameters of a model by name. Tied parameters are one parameter."""
    return dict(model.named_parameters())


class Cost:
    """Measures what a method costs, from when it is made."""

    def __init__(self) -> None:
        import torch

        from gldfusion.memory import PeakMemory

        self._started = time.perf_counter()
        self._memory: PeakMemory = PeakMemory(torch.device("cpu"))

    def totals(self, **more: float) -> dict[str, Any]:
        """The content of training_totals.json: seconds, peak memory, and `more`."""
        return {
            "seconds": time.perf_counter() - self._started,
            "peak_memory_bytes": self._memory.read(),
            "tokens": 0,
            "flops": 0,
            "inference_models": 1,
        } | more


def provenance(
    settings: Mapping[str, Any], parts: Mapping[str, Path], packages: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The content of fusion.json: settings, hashes of the checkpoints in `parts`, and versions of packages."""
    return {
        "method": dict(settings),
        "parts": {name: hash_checkpoint(path) for name, path in parts.items()},
        "versions": {name: metadata.version(name) for name in (*PACKAGES, *packages)},
    }


def write_merged(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    output: Path,
    *,
    how: str,
    settings: Mapping[str, Any],
    parts: Mapping[str, Path],
    totals: Mapping[str, Any],
    packages: tuple[str, ...] = (),
    add: Mapping[str, str] | None = None,
) -> Path:
    """Writes a merged checkpoint.

    Args:
        model: the model with the merged weights.
        tokenizer: its tokenizer.
        output: the folder. It must not exist.
        how: one or two sentences for the model card that say how it was made.
        settings: everything that determines the result, for fusion.json.
        parts: name -> checkpoint of everything that was merged; fusion.json holds their hashes.
        totals: content of training_totals.json.
        packages: further packages whose versions fusion.json holds.
        add: further files: path below the folder -> text.

    Returns:
        `output`.
    """
    from gldfusion.export import Whole, export

    def more(folder: Path) -> None:
        for name, text in (add or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    export(
        Whole(model),
        tokenizer,
        provenance(settings, parts, packages),
        CARD.format(name=output.name, how=how),
        [],
        totals,
        output,
        more,
    )
    return output
