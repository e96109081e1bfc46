"""Merging of weights by mergekit: the methods `linear`, `ties` and `dare_ties` on models trained from one base.

Goddard et al., Arcee's MergeKit: A Toolkit for Merging Large Language Models (2024), arXiv:2403.13257.

- linear: the weighted mean of the weights. Wortsman et al. (2022), arXiv:2203.05482.
- ties: of each model's difference to the base, the entries of largest magnitude are kept, the signs are made to agree,
  and the rest is averaged. Yadav et al., TIES-Merging (2023), arXiv:2306.01708. The authors' code keeps the largest
  entries of all weights together; mergekit keeps the largest of each tensor.
- dare_ties: as ties, but random entries are kept and scaled up. Yu et al., Language Models are Super Mario (2023),
  arXiv:2311.03099. The paper divides by the density; mergekit scales each difference back to its own l1 norm.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from gldbench.methods.method import TRAINING_KEYS, Method
from gldbench.methods.weights import (
    Cost,
    base_of,
    check_weights,
    inputs,
    merged_names,
    parameters,
    read_alike,
    write_merged,
)
from gldbench.spec import MethodSpec, Spec
from gldfusion.errors import InputError
from gldfusion.progress import Progress
from gldfusion.recipe import Model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CITATIONS = {"linear": "arXiv:2203.05482", "ties": "arXiv:2306.01708", "dare_ties": "arXiv:2311.03099"}


class MergeOptions(Model):
    """Options of `merge`."""

    method: Literal["linear", "ties", "dare_ties"]
    """the method, by its name in mergekit"""
    weights: dict[str, float] = Field(default_factory=dict)
    """name of a merged model -> its weight. linear and ties divide the weights by their sum; dare_ties does not.
    Default: 1 / (number of models) each"""
    density: float | None = Field(default=None, gt=0, le=1)
    """share of the entries of each difference to the base that is kept; for ties and dare_ties. Default: 0.5"""
    seed: int | None = None
    """seed of the random entries of dare_ties. Default: the seed of the fused checkpoint"""


def check(spec: Spec, method: MethodSpec) -> None:
    """Checks that mergekit is installed, that the models have one base, and that the options fit the method.

    Raises:
        InputError: they do not.
    """
    options = MergeOptions.model_validate(method.options)
    base_of(spec, method)
    check_weights(options.weights, merged_names(spec, method))
    for key, readers in (("density", ("ties", "dare_ties")), ("seed", ("dare_ties",))):
        if getattr(options, key) is not None and options.method not in readers:
            raise InputError(
                f"options.{key} belongs to {' and '.join(readers)}, and {options.method} does not read it\n"
                f"remove {key}, or choose another method"
            )
    _require_mergekit()


def _require_mergekit() -> None:
    if find_spec("mergekit") is None:
        raise InputError(
            "methods of the kind merge need mergekit, which is not installed\n"
            "run `pip install 'gldbench[merge]'`; the kinds soup and fisher need nothing more"
        )


def settings_of(options: MergeOptions, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """The settings of mergekit: name of a setting -> name of a merged model -> value."""
    weights = {name: options.weights.get(name, 1 / len(names)) for name in names}
    if options.method == "linear":
        return {"weight": weights}
    return {"weight": weights, "density": dict.fromkeys(names, 0.5 if options.density is None else options.density)}


def run_mergekit(models: Mapping[str, PreTrainedModel], base: str, options: MergeOptions, seed: int) -> None:
    """Replaces the parameters of the base by the merged ones.

    mergekit merges the parameters in memory. Its command line reads checkpoints, and has tables of the names of their
    weights that do not fit Phi-3 with tied embeddings and GPT-NeoX in transformers 5.

    Args:
        models: the merged models and their base, by name.
        base: name of the base.
        options: our options.
        seed: seed of the random draws of mergekit.
    """
    import torch
    from mergekit.merge_methods import merge_state_dicts  # pyright: ignore[reportMissingImports]

    names = [name for name in models if name != base]
    based = options.method != "linear"
    held: dict[Hashable, Any] = {name: parameters(models[name]) for name in (*names, *([base] if based else []))}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings = settings_of(options, names)
        merged = merge_state_dicts(held, options.method, parameters=settings, base=base if based else None)
        for key, value in parameters(models[base]).items():
            value.copy_(merged[key])


def make_merge(
    spec: Spec, method: MethodSpec, world: Path, data: Path, seed: int, output: Path, progress: Progress
) -> Path:
    """Merges the models with mergekit. It reads no data: only dare_ties differs between seeds."""
    cost, names, base = Cost(), merged_names(spec, method), base_of(spec, method)
    options = MergeOptions.model_validate(method.options)
    folders = {name: world / "models" / name for name in (*names, base)}
    random = seed if options.seed is None else options.seed
    models, tokenizer = read_alike(folders)
    run_mergekit(models, base, options, random)
    progress(1, 1)
    settings = settings_of(options, names)
    listed = ", ".join(f"{weight:g} x `{name}`" for name, weight in settings["weight"].items())
    density = f"; base `{base}`, density {settings['density'][names[0]]:g}" if "density" in settings else ""
    return write_merged(
        models[base],
        tokenizer,
        output,
        how=f"Merged by mergekit with the method {options.method} ({CITATIONS[options.method]}): {listed}{density}.",
        settings={"kind": "merge", "options": options.model_dump(mode="json"), "seed": random, "base": base},
        parts=folders,
        totals=cost.totals(),
        packages=("mergekit",),
    )


METHOD = Method(make=make_merge, inputs=inputs, options=MergeOptions, check=check, unread=TRAINING_KEYS)
