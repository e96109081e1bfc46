"""The spec of an experiment: its world, its methods, its seeds. It is read from YAML and refuses unknown keys."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from gldfusion.errors import InputError, did_you_mean
from gldfusion.paths import resolved
from gldfusion.reading import one_line, shown
from gldfusion.recipe import Model, TermSpec, TrainSpec, validate
from gldfusion.yaml_reader import read_yaml

LONGEST_NAME = 4096
"""characters of a name or a path after `extends:`"""
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
    """A small language model of the embedded world, trained from scratch."""

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
    examples: int = Field(gt=0)
    """number of training texts, drawn from its set"""
    train: TrainSpec


class WorldSpec(Growing):
    """The models and the data of an embedded world, all made from one seed."""

    later: ClassVar[frozenset[str]] = frozenset({"control", "families"})

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


class MethodSpec(Model):
    """How a fused checkpoint is made."""

    kind: str = "train"
    """key of `methods.METHODS`"""
    sources: tuple[str, ...] = ()
    """names of the sources that it learns from; empty: all sources of the world"""
    control: Literal["none", "shuffled", "permuted_ids"] = "none"
    """what is broken in the source outputs, if the method is a control; as in a recipe"""
    lambda_: float = Field(default=0.0, ge=0, le=1, validation_alias="lambda", serialization_alias="lambda")
    """the weight of SFT in the total loss is 1 - lambda; as in a recipe"""
    terms: tuple[TermSpec, ...] = ()
    learning_rate: float | None = None
    """default: that of `fusion.train`"""


class FusionSpec(Model):
    """What all methods have in common: seeds, data and settings of the training."""

    seeds: tuple[int, ...]
    examples: int = Field(gt=0)
    """number of texts that each seed draws from the fusion set"""
    train: TrainSpec


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

    later: ClassVar[frozenset[str]] = frozenset({"gates"})

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


def models_of(world: WorldSpec) -> dict[str, ModelSpec]:
    """All models of a world, by name."""
    control = {} if world.control is None else {"control": world.control}
    return {"pivot": world.pivot, **world.sources, **control}


def subjects_of(spec: Spec) -> list[tuple[str, str, int]]:
    """(name, method, seed) of all checkpoints of a run: the models of the world, then each method with each seed."""
    fused = [(f"{method}-seed{seed}", method, seed) for method in spec.methods for seed in spec.fusion.seeds]
    return [(name, name, 0) for name in models_of(spec.world)] + fused


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
    return read_spec(_find(name))


def read_spec(path: Path) -> Spec:
    """Reads the spec in a file, as `load_spec` does."""
    spec = validate(Spec, _read(path, ()), str(path))
    _check(spec, path)
    return spec


def _find(name: str) -> Path:
    if Path(name).suffix:
        return Path(name)
    shipped = {p.stem: p for p in SPECS.glob("*.yaml")}
    if name not in shipped:
        raise InputError(
            f'no spec is called "{one_line(name, 80)}"{did_you_mean(name, shipped)}\n'
            f"known: {', '.join(sorted(shipped))}; a path must end in .yaml"
        )
    return shipped[name]


def _read(path: Path, before: tuple[Path, ...]) -> Any:
    """Reads the YAML of a spec. With `extends: NAME` it takes the top-level keys that it lacks from that spec.

    Args:
        path: the file.
        before: the files that extend this one, which it must not extend itself.
    """
    content = read_yaml(path, "spec")
    if isinstance(content, dict) and "extends" in content:
        name = content.pop("extends")
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            raise InputError(f"{path}: extends: expected the name of a spec, got {shown(name)}\ngive a name or a path")
        base, chain = _find(name), (*before, path)
        if resolved(base) in map(resolved, chain):
            raise InputError(f"{path} extends {base.name}, which extends it again\nname another spec after `extends:`")
        inherited = _read(base, chain)
        if not isinstance(inherited, dict):
            raise InputError(
                f"{path} extends {base}, which holds {shown(inherited)}\nexpected a spec: keys with values"
            )
        return inherited | content
    return content


def _check(spec: Spec, path: Path) -> None:
    known = models_of(spec.world).keys() - {"pivot"}
    for name, method in spec.methods.items():
        for source in method.sources:
            _require_named(f"{path}: methods.{name}.sources", source, known)
    if "gates" in spec.model_fields_set:
        for role, method in spec.gates:
            if method is not None:
                _require_named(f"{path}: gates.{role}", method, spec.methods)


def _require_named(key: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise InputError(
            f'{key} names "{one_line(name, 80)}"{did_you_mean(name, known)}\nknown: {", ".join(sorted(known))}'
        )


def spec_path(name: str) -> Path:
    """Returns the file that `load_spec` would read.

    Raises:
        InputError: no spec that ships with gldbench has this name.
    """
    return _find(name)
