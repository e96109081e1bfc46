"""What all settings share: they are immutable, unknown keys are refused, and messages name the key."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gldfusion.errors import InputError, did_you_mean
from gldfusion.reading import one_line, shown


class Model(BaseModel):
    """Base of all settings: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


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
