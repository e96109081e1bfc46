"""The spec of an experiment: its world, its methods, its seeds. It is read from YAML and refuses unknown keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from gldbench.protocol.rules import check_spec
from gldbench.spec_files import find_spec, read_content
from gldfusion.recipe import Model, OnPolicy, TermSpec, TrainSpec, number_or_full, validate

SPECS = Path(__file__).parent / "specs"


class Growing(Model):
    """Settings that get more keys with time. Stored runs and worlds are found by their text, which must not change."""

    later: ClassVar[frozenset[str]] = frozenset()
    """keys that older runs do not know; the stored text leaves them out where they have their default"""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in handler(self).items()
            if name not in self.later or getattr(self, name) != fields[name].get_default(call_default_factory=True)
        }


class ModelSpec(Growing):
    """A small language model of the embedded world, trained from scratch or from another model of the world."""

    later: ClassVar[frozenset[str]] = frozenset({"base", "parts"})

    architecture: str
    """key of `worlds.models.ARCHITECTURES`"""
    tokenizer: str
    """key of `worlds.tokenizers.KINDS`, or the name of another model of the world, whose tokenizer it shares"""
    vocabulary: int
    """largest number of tokens, special tokens included"""
    turn: tuple[str, str]
    """special tokens before and after the user's turn in the chat template"""
    hidden: int
    layers: int
    heads: int
    intermediate: int
    set: Literal["source", "pivot"]
    """the set that its training texts come from"""
    families: tuple[str, ...] = ()
    """its own families, which most of its training texts come from; empty: all families of the world alike"""
    share_own: float = Field(default=0.7, gt=0, le=1)
    """share of training texts from its own families"""
    parts: dict[str, tuple[str, ...]] = Field(default={})
    """family -> the parts of it (`Family.parts`) that its training texts are limited to; families that are not named:
    all parts. So a model knows some of a family and nothing of the rest"""
    examples: int = Field(gt=0)
    """number of training texts, drawn from its set"""
    train: TrainSpec
    base: str | None = None
    """name of the model of this world whose trained weights and tokenizer it starts from. Default: it starts from
    random weights"""


class WorldSpec(Growing):
    """The models and the data of an embedded world, all made from one seed."""

    later: ClassVar[frozenset[str]] = frozenset({"control", "families", "specialists"})

    seed: int
    families: tuple[str, ...] = ()
    """the task families of the world; empty: all of `worlds.families.FAMILIES`"""
    sets: dict[Literal["source", "pivot", "fusion", "validation", "test", "harder"], int]
    """set -> number of instances of every family"""
    wrong_labels: float = Field(ge=0, lt=1)
    """share of the responses in the fusion set that are wrong: they answer another instance"""
    k: int = Field(gt=0)
    """number of largest logits that are stored for each position"""
    pivot: ModelSpec
    sources: dict[str, ModelSpec]
    control: ModelSpec | None = None
    """a strong model with the pivot's tokenizer, for the world gate. A world needs none if one of its sources has the
    pivot's tokenizer"""
    specialists: dict[str, ModelSpec] = Field(default={})
    """models that only methods without distillation terms read, for example those that `merge` averages. Their logits
    are not stored. Their names begin with "specialist-", by which the report knows them"""

    @property
    def models(self) -> dict[str, ModelSpec]:
        """All models of the world, by name."""
        control = {} if self.control is None else {"control": self.control}
        return {"pivot": self.pivot, **self.sources, **control, **self.specialists}


def _number_full_or_none(given: Any) -> Any:
    return None if given is None else number_or_full(given)


class MethodSpec(Growing):
    """How a fused checkpoint is made."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"like", "adds_to", "term_options", "times", "k", "choices", "sample_seed", "differs_in", "exploratory"}
        | {"options", "steps_factor", "tuned", "on_policy"}
    )
    kind: str = "train"
    """key of `methods.METHODS`"""
    options: dict[str, Any] = Field(default={})
    """options of the kind; docs/methods.md lists them"""
    like: str | None = None
    """another method, from which this one takes everything that it does not set itself, tuned weights included"""
    adds_to: str | None = None
    """another method, to whose terms and tuned weights this one adds its own terms"""
    sources: tuple[str, ...] = ()
    """names of the models that it is made from. Empty: all sources of the world, or all its specialists if the kind
    merges weights or mixes logits"""
    control: Literal["none", "shuffled", "permuted_ids"] = "none"
    """what is broken in the source outputs, if the method is a control; as in a recipe"""
    lambda_: float = Field(default=0.0, ge=0, le=1, validation_alias="lambda", serialization_alias="lambda")
    """the weight of SFT in the total loss is 1 - lambda; as in a recipe"""
    terms: tuple[TermSpec, ...] = ()
    """the terms that the method adds. In a spec with `tuning`, their weights are multiplied by the tuned weight"""
    term_options: dict[str, dict[str, Any]] = Field(default={})
    """loss -> options that replace those of the terms taken from `like`"""
    times: float = Field(default=1.0, ge=0)
    """with `like`: factor of the weights of that method's own terms, not of those that it adds them to"""
    k: Annotated[int | Literal["full"] | None, BeforeValidator(_number_full_or_none)] = None
    """number of largest logits that the losses see, at most the number that the world stores. Default: that number.
    `full`: the whole vocabulary of each model. The sources then run beside the pivot"""
    choices: dict[str, tuple[Any, ...]] = Field(default={})
    """option of the method's own terms -> values, one of which is chosen on the validation set"""
    tuned: bool = True
    """whether the weight of its own terms is tuned, in a spec with `tuning`. If not, the spec gives it"""
    sample_seed: int | None = None
    """draw the sample of the fusion set with this seed in every training, so that only the order varies"""
    learning_rate: float | None = None
    """default: that of `fusion.train`, or the tuned one"""
    steps_factor: float = Field(default=1.0, gt=0)
    """number of training steps, as a multiple of that of `fusion.train`"""
    on_policy: OnPolicy | None = None
    """its terms read responses that the pivot writes while it is trained. The sources then run beside the pivot: their
    stored logits are for the responses of the data"""
    differs_in: tuple[str, ...] = ()
    """settings in which the method differs on purpose from the method that it is compared with, besides its terms"""
    exploratory: bool = False
    """the method is no part of the primary comparisons, and the report gives no verdict on it"""


class FusionSpec(Growing):
    """What all methods have in common: seeds, data and settings of the training."""

    later: ClassVar[frozenset[str]] = frozenset({"seeds_per"})
    seeds: tuple[int, ...] = Field(min_length=1)
    seeds_per: Literal["world", "all"] = "world"
    """whether each world has all these seeds, or the seeds are dealt out to the worlds in turn"""
    examples: int = Field(gt=0)
    """number of texts that each seed draws from the fusion set"""
    train: TrainSpec


class TuningSpec(Model):
    """How the weights are chosen: on the validation set, with worlds and seeds that the comparison does not use."""

    worlds: tuple[int, ...] = Field(min_length=1)
    """world seeds"""
    seeds: tuple[int, ...] = Field(min_length=1)
    """seeds of the fusions"""
    weights: tuple[float, ...]
    """the grid of the weight of each method's own terms, the same for all methods; it contains 0"""
    learning_rates: tuple[float, ...] = ()
    """the grid of the learning rate. It is chosen for sft, and all methods use it. Empty: that of `fusion.train`"""


class EvaluationSpec(Model):
    """The sets on which all checkpoints are evaluated."""

    sets: tuple[Literal["validation", "test", "harder"], ...] = ("test", "harder")
    max_tokens: int = Field(gt=0)
    """token limit of an answer"""
    batch_size: int = Field(default=64, gt=0)
    """number of sequences that are generated at once"""


class GateSpec(Model):
    """The methods that the world gate compares with sft. Each is the name of a method of the spec."""

    same_vocabulary: str | None = None
    """learns from a source that has the pivot's vocabulary; it must beat sft"""
    across: str | None = None
    """learns across vocabularies with a loss that knows token ids; it must beat sft"""
    shuffled: str | None = None
    """learns from shuffled source outputs; it must not beat sft"""


class Spec(Growing):
    """One experiment."""

    later: ClassVar[frozenset[str]] = frozenset({"gates", "worlds", "tuning", "weights_from", "primary"})

    name: str
    """name of the run; the default folder is runs/<name>"""
    title: str
    """title of the report"""
    world: WorldSpec
    methods: dict[str, MethodSpec]
    """name -> method; the report uses these names"""
    fusion: FusionSpec
    evaluation: EvaluationSpec
    gates: GateSpec = GateSpec(same_vocabulary="sft+kl", shuffled="sft+kl-shuffled")
    """default: the gate of older specs, whose positive control learns from the control source"""
    worlds: tuple[int, ...] = ()
    """world seeds: one world for each, which differs from `world` by its seed only. Empty: only `world`"""
    tuning: TuningSpec | None = None
    weights_from: str | None = None
    """name of a run in the same folder whose tuned weights are used, instead of `tuning`; its learning rate is not"""
    primary: tuple[tuple[str, str], ...] = ()
    """the comparisons that the run is made for, each (candidate, baseline). Their p-values are corrected together"""


def models_of(world: WorldSpec) -> dict[str, ModelSpec]:
    """All models of a world, by name."""
    return world.models


def worlds_of(spec: Spec) -> dict[int, WorldSpec]:
    """All worlds of a run, by their seed."""
    return {seed: spec.world.model_copy(update={"seed": seed}) for seed in spec.worlds or (spec.world.seed,)}


def in_world(spec: Spec, seed: int) -> Spec:
    """The experiment in one other world, under another name: other data and other models, made from this seed.

    Raises:
        InputError: the weights of the spec are tuned in this world.
    """
    changes = {"world": spec.world.model_copy(update={"seed": seed}), "worlds": (), "name": f"{spec.name}-world{seed}"}
    changed = spec.model_copy(update=changes)
    check_spec(changed, f"{spec.name} with --world-seed {seed}")
    return changed


@dataclass(frozen=True)
class Subject:
    """A checkpoint of a run, with the fields of its rows."""

    name: str
    method: str
    world_seed: int
    seed: int


def seeds_of(spec: Spec) -> dict[int, tuple[int, ...]]:
    """The seeds of the fusions in each world, by the seed of the world."""
    worlds, seeds = list(worlds_of(spec)), spec.fusion.seeds
    if spec.fusion.seeds_per == "world":
        return dict.fromkeys(worlds, seeds)
    return {world: seeds[place :: len(worlds)] for place, world in enumerate(worlds)}


def subjects_of(spec: Spec) -> list[Subject]:
    """All checkpoints of a run: for each world its models, then each method with each seed."""
    found = []
    for world, seeds in seeds_of(spec).items():
        suffix = f"-world{world}" if spec.worlds else ""
        found += [Subject(name + suffix, name, world, 0) for name in models_of(spec.world)]
        found += [Subject(f"{m}-seed{seed}{suffix}", m, world, seed) for m in spec.methods for seed in seeds]
    return found


def unit_of(subject: str) -> str:
    """The unit of the store that holds the rows of one checkpoint of a run."""
    return f"evaluated {subject}"


def load_spec(name: str) -> Spec:
    """Reads a spec.

    Args:
        name: path of a YAML file, or name of a spec that ships with gldbench, such as "tiny".

    Raises:
        InputError: there is no such spec, or it has an unknown key, a missing key or a wrong value.
    """
    return read_spec(find_spec(name, SPECS))


def read_spec(path: Path) -> Spec:
    """Reads the spec in a file, as `load_spec` does."""
    spec = validate(Spec, read_content(path, SPECS), str(path))
    check_spec(spec, str(path))
    return spec


def spec_path(name: str) -> Path:
    """Returns the file that `load_spec` would read.

    Raises:
        InputError: no spec that ships with gldbench has this name.
    """
    return find_spec(name, SPECS)
