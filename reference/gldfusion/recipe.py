"""The recipe of a fusion: all settings that determine the fused checkpoint.

A recipe is immutable and refuses unknown keys. This module imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gldfusion.settings import Model as Model
from gldfusion.settings import validate as validate
from gldfusion.train_spec import Lora as Lora
from gldfusion.train_spec import OnPolicy as OnPolicy
from gldfusion.train_spec import TrainSpec as TrainSpec
from gldfusion.yaml_reader import read_yaml


class DataPart(Model):
    """Training texts: a file, or a data set of the Hugging Face hub."""

    path: Path | None = None
    """JSON lines, a JSON array, parquet or Arrow; `examples.read_examples` reads them"""
    hub: str | None = None
    """name of the data set on the hub"""
    subset: str | None = None
    """its configuration, if it has several"""
    split: str = "train"
    """its split"""
    revision: str | None = None
    """branch, tag or commit. Name a commit, so that the data cannot change"""
    weight: float | None = Field(default=None, gt=0)
    """weight of the part in a mixture: its share is weight / (sum of weights)"""

    @property
    def name(self) -> str:
        """The file's name without suffix, or the name on the hub."""
        return self.path.stem if self.path is not None else str(self.hub)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("data are a file or a data set of the hub: give either `path` or `hub`")
        if self.path is not None and (self.subset or self.revision or self.split != "train"):
            raise ValueError("subset, split and revision belong to a data set of the hub: give `hub`, not `path`")
        return self


def _as_parts(given: Any) -> Any:
    """A path and a single part are lists of one part."""
    parts = given if isinstance(given, list | tuple) else [given]
    return [{"path": part} if isinstance(part, str | Path) else part for part in parts]


def number_or_full(given: Any) -> Any:
    """Checks a value of `k`, so that the message names both kinds of values."""
    if given != "full" and (type(given) is not int or given < 1):
        raise PydanticCustomError("k", "expected a whole number above 0, or full")
    return given


class SourceSpec(Model):
    """A frozen model whose logits the pivot learns from."""

    name: str
    checkpoint: Path
    cache: Path | None = None
    """folder of stored top-k logits. Without it the source runs next to the pivot. With a cache the checkpoint may be
    missing; if it exists, it must be the one that filled the cache"""
    vllm: str | None = None
    """address of a vLLM server that runs the source when its cache is filled. Then the checkpoint needs no weights"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """precision in which the source runs, both next to the pivot and when its cache is filled"""
    device: str | None = None
    """torch name of the device on which the source runs. Default: the pivot's device"""
    offload: bool = False
    """keep the source's weights in main memory and copy them to the device one layer at a time"""
    weight: float = Field(default=1.0, ge=0)
    """weight w_s of the source in the total loss; with 0 the source is not opened"""
    control: Literal["none", "shuffled", "permuted_ids"] = "none"
    """negative controls: `shuffled` gives each text the outputs of another text of its `group`, at the same relative
    position; `permuted_ids` renames vocabulary ids"""

    @model_validator(mode="after")
    def _server_fills_a_cache(self) -> Self:
        if self.vllm is not None and not self.vllm.startswith(("http://", "https://")):
            raise ValueError(f"vllm must be an address such as http://host:8000, got {self.vllm}")
        if self.vllm is not None and self.cache is None:
            raise ValueError(f"the server of source {self.name} fills a cache before the training: give `cache` too")
        return self


class TermSpec(Model):
    """One distillation term of the total loss, applied to every source."""

    loss: str
    """name of an entry of `gldfusion.losses.LOSSES`"""
    weight: float = Field(ge=0)
    options: dict[str, Any] = Field(default={})
    """options of the loss, by name; `help` of its class explains them"""


class Recipe(Model):
    """The recipe of one fusion.

    total loss = (1 - lambda) SFT + sum over sources w_s sum over terms weight * term
    """

    name: str
    pivot: Path
    """checkpoint folder of the model that is trained"""
    data: Annotated[tuple[DataPart, ...], BeforeValidator(_as_parts), Field(min_length=1)]
    """the training texts: the path of a file, one part, or a list of parts"""
    data_seed: int = 0
    """seed of the draws of a mixture. The order of the examples has a seed of its own, `train.seed`"""
    validation: Path | None = None
    """a file of texts that are not trained. Every `train.evaluate_every` steps the loss on them is measured"""
    sources: tuple[SourceSpec, ...] = ()
    terms: tuple[TermSpec, ...] = ()
    lambda_: float = Field(default=0.0, ge=0, le=1, validation_alias="lambda", serialization_alias="lambda")
    k: Annotated[int | Literal["full"], BeforeValidator(number_or_full)] = 10
    """number of largest logits kept per position; `full` keeps the whole vocabulary and needs live sources"""
    min_coverage: float = Field(default=0.5, ge=0, le=1)
    """smallest accepted share of the pivot's labelled positions that are paired with each source"""
    special_tokens_in_text: Literal["text", "parse", "refuse"] = "parse"
    """how special tokens are read that are typed in the data: `parse` as special tokens, `text` like other text;
    `refuse` refuses the data"""
    trust_remote_code: bool = False
    """run code that the pivot and the sources bring (`auto_map`). Without it such a checkpoint is refused"""
    train: TrainSpec

    @property
    def used_sources(self) -> tuple[SourceSpec, ...]:
        """The sources that training reads: none if every term has weight 0, else those with a weight above 0."""
        read = any(term.weight > 0 for term in self.terms)
        return tuple(source for source in self.sources if read and source.weight > 0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"every source needs a name of its own, got {', '.join(names)}")
        weighted = [part.weight is not None for part in self.data]
        if any(weighted) and not all(weighted):
            raise ValueError("some parts of the data have a weight and some have none: give all a weight, or none")
        if self.terms and not self.sources:
            raise ValueError("terms compare the pivot with sources: name at least one source, or remove the terms")
        self._check_on_policy()
        if self.validation is not None and not self.train.evaluate_every:
            raise ValueError("validation is read every train.evaluate_every steps: set train.evaluate_every too")
        return self

    def _check_on_policy(self) -> None:
        settings = self.train.on_policy
        if settings is None:
            return
        if not self.terms:
            raise ValueError("train.on_policy is for distillation terms, and there are none: remove it, or add a term")
        if cached := [source.name for source in self.sources if source.cache is not None]:
            raise ValueError(
                f"a cache cannot hold what the pivot will write: remove `cache` from source {cached[0]}, "
                "or remove train.on_policy"
            )
        if self.train.save_every % settings.every:
            raise ValueError(
                f"train.save_every is {self.train.save_every}, and must be a multiple of train.on_policy.every "
                f"({settings.every}): a resumed training writes the same responses again"
            )

    def deciding(self) -> dict[str, Any]:
        """The settings that decide the result, beside the pivot, the data and the sources.

        A training may go on with other values of the settings that are left out: they change its memory, its speed and
        its reports, and the weights by rounding at most. `steps` and `epochs` are left out because a training may be
        made longer; the learning rate of the remaining steps then follows the new length.
        """
        unimportant = ("steps", "epochs", "micro_batch_size", "kernel", "gradient_checkpointing")
        unimportant += ("save_every", "probe_every", "log_every", "evaluate_every")
        return {"packing": self.train.packing} | self.model_dump(
            mode="json",
            exclude={
                **dict.fromkeys(("name", "pivot", "data", "data_seed", "validation", "sources"), True),
                **dict.fromkeys(("min_coverage", "trust_remote_code"), True),
                "train": dict.fromkeys(unimportant, True) | {"lora": {"export"}},
            },
        )


def steps_of(train: TrainSpec, examples: int) -> int:
    """The number of optimizer steps: `steps`, or as many as `epochs` need, rounded up.

    Args:
        train: the settings.
        examples: number of examples that have a label.
    """
    return train.steps or math.ceil((train.epochs or 0) * examples / train.batch_size)


def load_recipe(path: Path, base: Path | None = None) -> Recipe:
    """Reads a recipe.

    Args:
        path: the file.
        base: folder to which relative paths in the recipe refer. Default: the folder of the recipe.

    Raises:
        InputError: the file is missing, is not YAML, or has an unknown key, a missing key or a wrong value.
    """
    recipe = validate(Recipe, read_yaml(path, "recipe"), str(path))
    base = (base or path.resolve().parent).resolve()
    sources = tuple(
        s.model_copy(update={"checkpoint": base / s.checkpoint, "cache": base / s.cache if s.cache else None})
        for s in recipe.sources
    )
    data = tuple(p if p.path is None else p.model_copy(update={"path": base / p.path}) for p in recipe.data)
    paths = {"pivot": base / recipe.pivot, "data": data, "sources": sources}
    return recipe.model_copy(update=paths | {"validation": base / recipe.validation if recipe.validation else None})


def with_trust(recipe: Recipe, trust_remote_code: bool) -> Recipe:
    """The recipe, with `trust_remote_code` set if the argument is true: the option of the command line."""
    return recipe.model_copy(update={"trust_remote_code": recipe.trust_remote_code or trust_remote_code})
