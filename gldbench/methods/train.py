"""Fusion by training: the pivot learns from distillation terms (`gldfusion.fuse`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gldbench.methods.method import Inputs, Method
from gldbench.spec import MethodSpec, Spec
from gldfusion.errors import InputError
from gldfusion.progress import Progress
from gldfusion.recipe import DataPart, Recipe, SourceSpec, steps_of


def train(
    spec: Spec,
    method: MethodSpec,
    world: Path,
    data: Path,
    seed: int,
    output: Path,
    progress: Progress,
) -> Path:
    """Trains the pivot of the world with the terms of the method, on `data` and the stored logits of the sources.

    Returns:
        The fused checkpoint, `output`.
    """
    from gldfusion.fuse import fuse  # loads torch: only workers need it

    return fuse(recipe_of(spec, method, world, data, seed, output.name), output, progress)


def sources_of(spec: Spec, method: MethodSpec) -> tuple[str, ...]:
    """Names of the models whose logits the method reads. A method without terms reads none."""
    return (method.sources or tuple(spec.world.sources)) if method.terms else ()


def inputs(spec: Spec, method: MethodSpec) -> Inputs:
    """The pivot, and the stored logits of the sources, or the sources themselves if they run beside it."""
    names = sources_of(spec, method)
    return Inputs(("pivot", *names)) if _live(method) else Inputs(("pivot",), logits=names)


def recipe_of(spec: Spec, method: MethodSpec, world: Path, data: Path, seed: int, name: str) -> Recipe:
    """The recipe for a method of a spec.

    Args:
        spec: the experiment.
        method: one of its methods.
        world: folder of the world.
        data: the sample of the fusion set, as JSON lines.
        seed: seed of the training.
        name: name of the recipe.
    """
    names = sources_of(spec, method)
    sources = tuple(
        SourceSpec(
            name=source,
            checkpoint=world / "models" / source,
            cache=None if _live(method) else world / "cache" / source,
            weight=1.0 / len(names),
            control=method.control,
        )
        for source in names
    )
    changes: dict[str, Any] = {"seed": seed, "on_policy": method.on_policy if method.terms else None}
    if method.learning_rate:
        changes["learning_rate"] = method.learning_rate
    if method.steps_factor != 1:
        steps = steps_of(spec.fusion.train, spec.fusion.examples)
        changes |= {"steps": round(method.steps_factor * steps), "epochs": None}
    return Recipe(
        name=name,
        pivot=world / "models" / "pivot",
        data=(DataPart(path=data),),
        sources=sources,
        terms=method.terms,
        lambda_=method.lambda_,
        k=method.k or spec.world.k,
        train=spec.fusion.train.model_copy(update=changes),
    )


def check(spec: Spec, method: MethodSpec) -> None:
    """Checks that a method whose pivot writes the responses has terms to read them, and can be resumed.

    Raises:
        InputError: says what to change.
    """
    if method.on_policy is None:
        return
    if not method.terms:
        raise InputError("on_policy is for distillation terms, and there are none\nadd a term, or remove on_policy")
    if spec.fusion.train.save_every % method.on_policy.every:
        raise InputError(
            f"fusion.train.save_every is {spec.fusion.train.save_every}, and must be a multiple of on_policy.every "
            f"({method.on_policy.every})\nchange one of them: a resumed training writes the same responses again"
        )


def _live(method: MethodSpec) -> bool:
    """Whether the sources run beside the pivot, because what the method reads of them is not stored."""
    return method.on_policy is not None or method.k == "full"


METHOD = Method(make=train, inputs=inputs, check=check, unread=("options",))
