"""What every loss is, for people: its formula, its source and its options, read from the class itself."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gldfusion.losses import LOSSES, Loss
from gldfusion.losses.options import other_values


@dataclass(frozen=True)
class OptionDescription:
    """One option of a loss."""

    name: str
    type: str
    """the values that it takes, for example `rank | vocab` or `int | None`"""
    default: Any
    meaning: str
    """its entry in the "Attributes:" section of the class docstring"""


@dataclass(frozen=True)
class LossDescription:
    """One entry of `LOSSES`."""

    name: str
    summary: str
    """the first line of the class docstring"""
    formula: str
    citation: str
    options: tuple[OptionDescription, ...]


def describe() -> list[LossDescription]:
    """Describes every loss, in the order of `LOSSES`."""
    return [_describe(name, loss) for name, loss in LOSSES.items()]


def _describe(name: str, loss: type[Loss]) -> LossDescription:
    text = inspect.getdoc(loss) or ""
    meanings, hints = _attributes(text), get_type_hints(loss)
    options = tuple(
        OptionDescription(field.name, _type_name(hints[field.name]), field.default, meanings.get(field.name, ""))
        for field in fields(loss)  # pyright: ignore[reportArgumentType]
    )
    return LossDescription(
        name=name, summary=text.partition("\n")[0], formula=loss.formula, citation=loss.citation, options=options
    )


def _attributes(text: str) -> dict[str, str]:
    """The entries of the "Attributes:" section of a docstring, each on one line, by name."""
    _, _, section = text.partition("\nAttributes:\n")
    entries = re.split(r"^    (\w+): ", section.split("\n\n")[0], flags=re.MULTILINE)
    return {name: " ".join(entry.split()) for name, entry in zip(entries[1::2], entries[2::2], strict=True)}


def _type_name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if others := other_values(hint):
        return " | ".join(["int", *("None" if word == "null" else word for word in others)])
    return hint.__name__
