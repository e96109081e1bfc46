"""The recipe of a fusion: all settings that determine the fused checkpoint.

A recipe is immutable and refuses unknown keys. This module imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from gldfusion.errors import InputError, did_you_mean
from gldfusion.paths import require_cache, require_checkpoint, require_data
from gldfusion.reading import one_line, shown
from gldfusion.yaml_reader import read_yaml


class Model(BaseModel):
    """Base of all settings: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


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
    options: dict[str, Any] = {}
    """options of the loss, by name; `help` of its class explains them"""


class OnPolicy(Model):
    """Responses that the pivot writes while it is trained, for the distillation terms; see `gldfusion.on_policy`."""

    every: int = Field(gt=0)
    """steps between two times at which the pivot writes responses to the prompts of the coming steps"""
    max_tokens: int = Field(gt=0)
    """most tokens of a response"""
    temperature: float = Field(default=1.0, gt=0)
    """temperature at which the responses are sampled"""


class Lora(Model):
    """Low-rank adapters, which are trained instead of the pivot's weights; see `gldfusion.lora`."""

    rank: int = Field(default=16, gt=0)
    """rank r of the two factors of each adapter"""
    alpha: float = Field(default=32.0, gt=0)
    """an adapter adds alpha / rank times the product of its factors to its matrix"""
    target_modules: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    """which matrices get an adapter: names of modules, such as `[q_proj, v_proj]`. `all-linear`: every linear layer
    but the output layer"""
    quantization: Literal["none", "nf4"] = "none"
    """how the pivot's own weights are held in memory: `nf4` in 4 bits (QLoRA), which needs the package bitsandbytes"""
    export: Literal["merged", "adapter"] = "merged"
    """what the output holds: `merged`, the pivot with the adapters added to its weights; `adapter`, the adapters alone,
    as peft reads them"""


LATER = frozenset(
    {"epochs", "packing", "attention", "log_every", "evaluate_every", "kernel", "on_policy"}
    | {"weights", "gradient_checkpointing", "lora"}
)
"""keys of `TrainSpec` that older runs do not know"""


class TrainSpec(Model):
    """Settings of the optimisation. Dropout is always off."""

    steps: int | None = Field(default=None, gt=0)
    """number of optimizer steps. Either this or `epochs` must be given; `steps_of` computes it from `epochs`"""
    epochs: float | None = Field(default=None, gt=0)
    """how often the examples are read, instead of `steps`"""
    batch_size: int = Field(gt=0)
    """sequences per optimizer step, over all processes together"""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """sequences per forward pass of one process. Default: all that the process has in a step"""
    packing: bool = True
    """put several texts in one row of a forward pass, so that rows need little padding. A model that gives other
    outputs for packed texts is padded all the same. The result changes by rounding only"""
    attention: Literal["eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"] | None = None
    """how transformers computes the attention of the pivot. Default: its own choice, which is `sdpa` for most models"""
    learning_rate: float = Field(gt=0)
    """largest learning rate, reached after the warm-up"""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """length of the linear warm-up, as a share of the steps"""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """course of the learning rate after the warm-up: down to 0 along a half cosine or a line, or constant"""
    weight_decay: float = Field(default=0.0, ge=0)
    """applies to matrices only, not to norms and biases"""
    betas: tuple[float, float] = (0.9, 0.95)
    """decay rates of AdamW; sgd ignores them"""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """a gradient with a larger norm is scaled down to this norm"""
    optimizer: Literal["adamw", "sgd", "adamw_8bit"] = "adamw"
    """`adamw_8bit` is AdamW of torchao: its two moments take one byte each for a parameter, where `adamw` takes four"""
    seed: int = 0
    """determines the order of the examples and the draws of the controls"""
    max_length: int = Field(default=4096, gt=1)
    """largest number of tokens of an example, prompt and response together. Longer examples are cut at the end; the
    training totals say how many"""
    precision: Literal["no", "bf16"] = "no"
    """autocast of the forward pass. It changes neither the type of the weights nor that of the losses (float32)"""
    weights: Literal["float32", "bfloat16"] = "float32"
    """type of the pivot's weights in memory. Trained `bfloat16` weights need `optimizer: adamw_8bit`, which rounds them
    at random: rounding to the nearest number would lose small updates. Adapters of `lora` are float32 in both cases"""
    gradient_checkpointing: bool = False
    """keep only the inputs of the pivot's layers for the backward pass, and compute the layers again there. This takes
    less memory and more time, and does not change the result"""
    lora: Lora | None = None
    """train low-rank adapters instead of the pivot's weights. Default: train all weights"""
    kernel: Literal["auto", "chunked", "triton"] = "auto"
    """implementation of the output layer and its loss; `topk_cross_entropy` says what `auto` chooses"""
    save_every: int = Field(default=500, gt=0)
    """steps between saved training states, from which an interrupted fusion resumes"""
    probe_every: int = Field(default=0, ge=0)
    """steps between two measurements of each term's share of the gradient. 0 turns them off"""
    log_every: int = Field(default=10, gt=0)
    """steps between two lines on standard error"""
    evaluate_every: int = Field(default=0, ge=0)
    """steps between two evaluations of the pivot; it is also evaluated after the last step. 0 turns them off"""
    on_policy: OnPolicy | None = None
    """the distillation terms read responses that the pivot writes itself. Default: those of the data. Needs live
    sources, one process, and a `save_every` that is a multiple of `on_policy.every`"""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out later keys that have their defaults: stored runs and worlds are found by this text."""
        return {
            name: value
            for name, value in handler(self).items()
            if name not in LATER or value != type(self).model_fields[name].default
        }

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("train needs either `steps` or `epochs`, and not both")
        return self

    @model_validator(mode="after")
    def _small_updates_survive(self) -> Self:
        if self.weights == "bfloat16" and self.lora is None and self.optimizer != "adamw_8bit":
            raise ValueError(
                f"{self.optimizer} rounds updates of bfloat16 weights to the nearest number, which loses small ones: "
                "set train.optimizer: adamw_8bit, or remove train.weights, or train adapters with train.lora"
            )
        return self


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
    k: Annotated[int, Field(gt=0)] | Literal["full"] = 10
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


M = TypeVar("M", bound=BaseModel)


def _leaves(annotation: Any) -> list[Any]:
    """The types inside an annotation such as `tuple[SourceSpec, ...]` or `X | None`."""
    arguments = getattr(annotation, "__args__", ())
    return [leaf for a in arguments for leaf in _leaves(a)] if arguments else [annotation]


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The names of the settings allowed at `location` in nested models, for "did you mean"."""
    for step in location:
        field = next((f for name, f in model.model_fields.items() if step in (name, f.validation_alias)), None)
        if field is None:
            continue  # an index of a tuple, or a key of a dictionary of models
        inner = [leaf for leaf in _leaves(field.annotation) if isinstance(leaf, type) and issubclass(leaf, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return [str(field.validation_alias or name) for name, field in model.model_fields.items()]


def validate(model: type[M], value: Any, where: str) -> M:
    """Turns parsed YAML into settings.

    Args:
        model: the class of the settings.
        value: the parsed YAML.
        where: name of the file, for the message.

    Raises:
        InputError: names the first key that is unknown, missing or has a wrong value.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InputError(_explain(error, model, where)) from None


def _explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """One line about the first problem. An unknown key comes first: it may be a missing key, misspelt."""
    problems = error.errors()
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    location = first["loc"]
    place = one_line(".".join(str(step) for step in location), 120)
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        hint = did_you_mean(str(location[-1])[:80], known) or f"; known keys here: {', '.join(known)}"
        return f'unknown key "{place}" in {where}{hint}'
    if first["type"] == "missing":
        return f'{where} has no "{place}": it must be given'
    if first["type"] == "value_error":
        return f"{where}: {one_line(first['msg'].removeprefix('Value error, '), 400)}"
    return f"{where}: {place or 'the whole file'}: {first['msg']} (got {shown(first.get('input'))})"


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


def check_paths(recipe: Recipe) -> None:
    """Checks that everything that a fusion reads exists, before torch is imported (that takes seconds).

    It checks the data, the pivot, and for every used source its cache, or its checkpoint if it names no cache.

    Args:
        recipe: a recipe with absolute paths, as `load_recipe` returns it.

    Raises:
        InputError: names the key of the recipe whose path is wrong, for example `cache` of the source "source-a".
    """
    _check_data(recipe)
    if recipe.validation is not None:
        _check_path("validation", require_data, recipe.validation)
    checkpoint = partial(require_checkpoint, trust_remote_code=recipe.trust_remote_code)
    _check_path("pivot", checkpoint, recipe.pivot)
    for source in recipe.used_sources:
        if source.cache is None:
            _check_path(_key(source, "checkpoint"), checkpoint, source.checkpoint)
        else:
            _check_path(_key(source, "cache"), require_cache, source.cache)


def check_cache_paths(recipe: Recipe) -> None:
    """As `check_paths`, for building the caches: checks the data, and the checkpoint of every source with a cache."""
    _check_data(recipe)
    for source in recipe.sources:
        if source.cache is not None:
            trusted, weights = recipe.trust_remote_code, source.vllm is None
            checkpoint = partial(require_checkpoint, trust_remote_code=trusted, weights=weights)
            _check_path(_key(source, "checkpoint"), checkpoint, source.checkpoint)


def _check_data(recipe: Recipe) -> None:
    for part in recipe.data:
        if part.path is not None:
            _check_path("data", require_data, part.path)


def _key(source: SourceSpec, key: str) -> str:
    return f'{key} of the source "{source.name}"'


def _check_path(key: str, require: Callable[[Path], Path], path: Path) -> None:
    try:
        require(path)
    except InputError as error:
        raise InputError(f"recipe key {key}: {error}") from None
