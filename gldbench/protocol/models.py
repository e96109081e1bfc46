"""Checks of the models of a world: what each starts from, and for which texts its logits are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gldfusion.errors import InputError, did_you_mean
from gldfusion.reading import one_line

if TYPE_CHECKING:
    from gldbench.spec import Spec, WorldSpec

SHAPE = ("architecture", "tokenizer", "vocabulary", "turn", "hidden", "layers", "heads", "intermediate")
"""the settings of a model that it must share with its base"""


def check_models(spec: Spec, where: str) -> None:
    """Checks the models of a spec, and that methods with terms read stored logits.

    Args:
        spec: the spec.
        where: name of its file, for messages.

    Raises:
        InputError: a specialist has a name of another form, a base does not exist, is the model itself or has another
            shape, or a method would read logits that are not stored, or are stored for texts of another length.
    """
    for name in spec.world.specialists:
        if not name.startswith("specialist-"):
            raise InputError(
                f'{where}: world.specialists: the report knows specialists by names that begin with "specialist-", '
                f'got "{one_line(name, 80)}"\ncall it specialist-{one_line(name, 80)}'
            )
    _check_bases(spec.world, where)
    for name, method in spec.methods.items():
        for source in method.sources:
            if method.terms and source in spec.world.specialists:
                raise InputError(
                    f"{where}: methods.{name}.terms compare the pivot with {source}, whose logits are not stored\n"
                    "move this model from world.specialists to world.sources, or name another source"
                )
        if any(term.weight > 0 for term in method.terms):
            for source in method.sources or tuple(spec.world.sources):
                _check_length(spec, source, where)


def _check_bases(world: WorldSpec, where: str) -> None:
    for name, model in world.models.items():
        before, base = {name}, model.base
        while base is not None:
            if base not in world.models:
                raise InputError(
                    f'{where}: the base of {name} is "{base}"{did_you_mean(base, world.models)}\n'
                    f"known: {', '.join(world.models)}"
                )
            if base in before:
                raise InputError(f"{where}: the base of {name} starts from {name} itself\nname another base")
            for key in SHAPE:
                if (own := getattr(model, key)) != (expected := getattr(world.models[base], key)):
                    raise InputError(
                        f"{where}: {name} starts from the weights of {base}: its {key} must be {expected}, got {own}\n"
                        f"give both the same {key}, or remove `base`"
                    )
            before.add(base)
            base = world.models[base].base


def _check_length(spec: Spec, source: str, where: str) -> None:
    """Checks that the stored logits of a source were made for texts of the length that methods train on.

    `worlds.build.store_logits` stores them with the source's `max_length`, and a fusion refuses others. That would
    happen hours later, in the middle of the run.
    """
    stored, wanted = spec.world.models[source].train.max_length, spec.fusion.train.max_length
    if stored != wanted:
        place = "world.control" if source == "control" else f"world.sources.{source}"
        raise InputError(
            f"{where}: fusion.train.max_length: expected {stored}, the max_length of {place}.train, got {wanted}\n"
            "the logits of a source are stored for texts of its own max_length: give both the same value"
        )
