"""A sweep: pivots, sources, what the fusions have in common, and how the fused checkpoints are evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gldbench.plan.recipes import SHIPPED, read_recipe
from gldbench.spec_files import find_spec
from gldfusion.errors import InputError, did_you_mean
from gldfusion.reading import one_line
from gldfusion.recipe import Model, Recipe, validate
from gldfusion.yaml_reader import read_yaml

KIND = "sweep"
"""value of the key `kind` by which a sweep is told from a recipe"""


class SweepModel(Model):
    """A pivot or a source."""

    checkpoint: Path
    """its folder"""
    hub: str = ""
    """its name on the hub, for the reader"""
    vllm: str | None = None
    """address of a vLLM server that runs a source; see `SourceSpec.vllm`"""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """precision in which a source runs"""
    weight: float = Field(default=1.0, ge=0)
    """weight of a source in the total loss"""
    device: str | None = None
    """torch name of the device on which a source runs"""
    offload: bool = False
    """keep a source's weights in main memory; see `SourceSpec.offload`"""
    control: Literal["none", "shuffled", "permuted_ids"] = "none"
    """negative control of a source; see `SourceSpec.control`"""


class SweepEvaluation(Model):
    """How the checkpoints are evaluated."""

    sets: dict[str, Path] = Field(default={})
    """name -> file of instructions with reference answers, scored by ROUGE-L; see `sweep.sets`"""
    tasks: tuple[str, ...] = ()
    """benchmarks, as `gldbench eval` names them; they need --data"""
    max_tokens: int = Field(default=256, gt=0)
    """token limit of an answer to an instruction"""


class Sweep(Model):
    """Several fusions that differ in their models."""

    kind: Literal["sweep"] = "sweep"
    name: str
    title: str
    source: str = ""
    """where the settings were read"""
    together: bool = False
    """one fusion of all sources for each pivot. If false: one fusion for each pair of a pivot and a source"""
    pivots: dict[str, SweepModel] = Field(min_length=1)
    sources: dict[str, SweepModel] = Field(default={})
    recipe: dict[str, Any]
    """the other keys of a recipe, the same for all fusions"""
    evaluation: SweepEvaluation = SweepEvaluation()


def find_sweep(name: str) -> Path | None:
    """The file of a shipped recipe or sweep with this name, or the path if it is one; None if it is neither.

    Args:
        name: name of a shipped recipe, or path of a YAML file.

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(name) if Path(name).suffix else SHIPPED / f"{name}.yaml"
    if not path.is_file():
        return None
    content = read_yaml(path, "recipe")
    known = isinstance(content, dict) and (content.get("kind") == KIND or {"pivot", "train"} <= content.keys())
    return path if known else None


def load_sweep(name: str) -> Sweep:
    """Reads a sweep, or a recipe as a sweep of one fusion. Paths become absolute.

    Args:
        name: name of a shipped recipe or sweep, or path of a YAML file. Relative paths in a shipped one refer to the
            current folder, those in others to the folder of the file.

    Raises:
        InputError: it is not valid.
    """
    path = Path(name) if Path(name).suffix else find_spec(name, SHIPPED)
    content = read_yaml(path, "sweep")
    if not isinstance(content, dict) or content.get("kind") != KIND:
        return _of_recipe(read_recipe(name))
    base = Path.cwd() if path.parent == SHIPPED else path.resolve().parent
    sweep = validate(Sweep, content, str(path))
    models = {
        kind: {n: m.model_copy(update={"checkpoint": base / m.checkpoint}) for n, m in getattr(sweep, kind).items()}
        for kind in ("pivots", "sources")
    }
    sets = {name: base / file for name, file in sweep.evaluation.sets.items()}
    evaluation = sweep.evaluation.model_copy(update={"sets": sets})
    return sweep.model_copy(update=models | {"evaluation": evaluation, "recipe": _based(sweep.recipe, base)})


def _based(recipe: dict[str, Any], base: Path) -> dict[str, Any]:
    """The common keys of the recipes, with absolute paths of data."""
    found = dict(recipe)
    if isinstance(found.get("data"), str):
        found["data"] = str(base / found["data"])
    if isinstance(found.get("validation"), str):
        found["validation"] = str(base / found["validation"])
    return found


def _of_recipe(recipe: Recipe) -> Sweep:
    """A recipe as a sweep: one pivot, all its sources together, evaluated on the benchmarks of the paper."""
    left = recipe.model_dump(mode="json", by_alias=True, exclude={"name", "pivot", "sources"}, exclude_none=True)
    return Sweep(
        name=recipe.name,
        title=f"The recipe {recipe.name}",
        together=True,
        pivots={"pivot": SweepModel(checkpoint=recipe.pivot)},
        sources={s.name: SweepModel(**s.model_dump(exclude={"name", "cache"})) for s in recipe.used_sources},
        recipe=left,
        evaluation=SweepEvaluation(tasks=("paper11",)),
    )


def fusions(sweep: Sweep) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The fusions of a sweep: name -> (pivot, its sources)."""
    if sweep.together or not sweep.sources:
        return {f"{pivot}-fused": (pivot, tuple(sweep.sources)) for pivot in sweep.pivots}
    return {f"{p}-from-{s}": (p, (s,)) for p in sweep.pivots for s in sweep.sources}


def recipe_of(sweep: Sweep, name: str, run: Path) -> Recipe:
    """The recipe of one fusion of a sweep.

    Args:
        sweep: the sweep.
        name: key of `fusions`.
        run: folder of the run, which holds the caches.

    Raises:
        InputError: the common keys are not those of a recipe, or the logits that they ask for cannot be stored.
    """
    _require_cacheable(sweep.recipe)
    pivot, sources = fusions(sweep)[name]
    return validate(
        Recipe,
        sweep.recipe
        | {
            "name": f"{sweep.name}-{name}",
            "pivot": str(sweep.pivots[pivot].checkpoint),
            "sources": [
                {"name": source, "cache": str(run / "cache" / source)}
                | sweep.sources[source].model_dump(mode="json", exclude={"hub"})
                for source in sources
            ],
        },
        f"{sweep.name}, key recipe",
    )


def _require_cacheable(recipe: dict[str, Any]) -> None:
    """Checks that the logits of the sources can be stored before the training.

    Raises:
        InputError: all logits of the vocabulary are asked for, or those of responses that the pivot will write.
    """
    if recipe.get("k") == "full":
        raise InputError("a sweep stores the logits of its sources, which needs a number of logits\nset k")
    train = recipe.get("train")
    if isinstance(train, dict) and train.get("on_policy") is not None:
        raise InputError(
            "a sweep stores the logits of its sources before the training, and so not those of responses that the "
            "pivot writes while it is trained\nremove train.on_policy, or use `gldbench fuse`"
        )


def require_names(sweep: Sweep, names: tuple[str, ...]) -> None:
    """Checks that a sweep has fusions with these names.

    Raises:
        InputError: it has none with one of them.
    """
    known = fusions(sweep)
    for name in names:
        if name not in known:
            raise InputError(
                f'{sweep.name} has no fusion "{one_line(name, 80)}"{did_you_mean(name, known)}\n'
                f"known: {', '.join(known)}"
            )
