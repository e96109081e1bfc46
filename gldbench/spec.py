"""An experiment's YAML: the world, the methods, the seeds. Immutable, closed to unknown keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gldfusion.errors import InputError, did_you_mean
from gldfusion.recipe import Model, TermSpec, TrainSpec, read_yaml, validate

SPECS = Path(__file__).parent / "specs"


class ModelSpec(Model):
    """A small language model of the embedded world, trained from scratch."""

    architecture: str
    tokenizer: str
    vocabulary: int
    """entries at most, special ones included"""
    turn: tuple[str, str]
    """special tokens around the user's turn in its chat template"""
    hidden: int
    layers: int
    heads: int
    intermediate: int
    set: Literal["source", "pivot"]
    """which training set it reads"""
    families: tuple[str, ...] = ()
    """its own families; empty: all alike"""
    share_own: float = Field(default=0.7, gt=0, le=1)
    examples: int = Field(gt=0)
    """training texts, drawn from its set"""
    train: TrainSpec


class WorldSpec(Model):
    """Models and data made from a seed."""

    seed: int
    sets: dict[Literal["source", "pivot", "fusion", "validation", "test", "harder"], int]
    """instances per family"""
    wrong_labels: float = Field(ge=0, lt=1)
    """share of the fusion set's responses that answer another instance"""
    k: int = Field(gt=0)
    """logits stored per position"""
    pivot: ModelSpec
    sources: dict[str, ModelSpec]
    control: ModelSpec
    """a strong model with the pivot's tokenizer, for the world gate"""


class MethodSpec(Model):
    """How a fused checkpoint comes to be."""

    kind: str = "train"
    sources: tuple[str, ...] = ()
    """empty: all sources of the world"""
    control: Literal["none", "shuffled", "permuted_ids"] = "none"
    lambda_: float = Field(default=0.0, ge=0, le=1, validation_alias="lambda", serialization_alias="lambda")
    terms: tuple[TermSpec, ...] = ()
    learning_rate: float | None = None
    """absent: that of `fusion.train`"""


class FusionSpec(Model):
    """What all methods share: data, steps, seeds."""

    seeds: tuple[int, ...]
    examples: int = Field(gt=0)
    """texts of each seed's sample of the fusion set"""
    train: TrainSpec


class EvaluationSpec(Model):
    """Which sets are generated and graded."""

    sets: tuple[Literal["validation", "test", "harder"], ...] = ("test", "harder")
    max_tokens: int = Field(gt=0)
    batch_size: int = Field(default=64, gt=0)


class Spec(Model):
    """One experiment."""

    name: str
    title: str
    world: WorldSpec
    methods: dict[str, MethodSpec]
    fusion: FusionSpec
    evaluation: EvaluationSpec


def load_spec(name: str) -> Spec:
    """A spec by file path, or by the name of one that ships with gldbench (such as "tiny")."""
    path = _find(name)
    spec = validate(Spec, _read(path), str(path))
    _check(spec, path)
    return spec


def _find(name: str) -> Path:
    if Path(name).suffix:
        return Path(name)
    shipped = {p.stem: p for p in SPECS.glob("*.yaml")}
    if name not in shipped:
        raise InputError(
            f'no spec named "{name}"{did_you_mean(name, shipped)}\n'
            f"shipped: {', '.join(sorted(shipped))}; or give the path of a YAML file"
        )
    return shipped[name]


def _read(path: Path) -> Any:
    """The YAML of a spec; `extends: NAME` takes every top-level key that it does not give itself from another one."""
    content = read_yaml(path, "spec")
    if isinstance(content, dict) and "extends" in content:
        return _read(_find(str(content.pop("extends")))) | content
    return content


def _check(spec: Spec, path: Path) -> None:
    known = {*spec.world.sources, "control"}
    for name, method in spec.methods.items():
        for source in method.sources:
            if source not in known:
                raise InputError(
                    f'{path}: methods.{name}.sources names "{source}"{did_you_mean(source, known)}\n'
                    f"known: {', '.join(sorted(known))}"
                )
