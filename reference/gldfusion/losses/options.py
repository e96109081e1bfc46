"""Checks the options of a loss against the type annotations of its fields."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gldfusion.errors import InputError
from gldfusion.graph import check_choice


def check_options(loss: Any) -> None:
    """Checks every option of a loss. Call it in the loss's `__post_init__`.

    An option of type Literal takes the listed values, a bool is true or false, a float must be positive, and an int in
    `int | None` or `int | Literal[...]` must be at least 1.

    Raises:
        InputError: names the loss and the option, what it takes and what came.
    """
    hints = get_type_hints(type(loss))
    for field in fields(loss):
        option = f"{_name(type(loss))}.{field.name}"
        value, hint = getattr(loss, field.name), hints[field.name]
        if get_origin(hint) is Literal:
            check_choice(option, value, get_args(hint))
        elif hint is float:
            if not _is_number(value) or not 0 < value < math.inf:
                raise InputError(f"{option} must be a positive number, not {value!r}")
        elif hint is bool:
            if not isinstance(value, bool):
                raise InputError(f"{option} must be true or false, not {value!r}")
        elif not (_is_number(value) and isinstance(value, int) and value >= 1):
            words = other_values(hint)
            if value is None if words == ["null"] else value in words:
                continue
            others = "null for all kept logits" if words == ["null"] else " or ".join(words)
            raise InputError(f"{option} must be a whole number of at least 1, or {others}; not {value!r}")


def other_values(hint: Any) -> list[str]:
    """What an option of type `int | None` or `int | Literal[...]` takes besides whole numbers, as it stands in YAML."""
    words = []
    for part in get_args(hint) if get_origin(hint) in (Union, UnionType) else ():
        if get_origin(part) is Literal:
            words += map(str, get_args(part))
        elif part is type(None):
            words.append("null")
    return words


def _name(loss: type) -> str:
    """The name of a loss in `LOSSES` from the name of its class: TopOne -> top_one."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", loss.__name__).lower()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
