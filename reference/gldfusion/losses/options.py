"""Checks the options of a loss against the type annotations of its fields."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gldfusion.errors import InputError
from gldfusion.graph import check_choice


def check_options(loss: Any) -> None:
    """Checks every option of a loss. Call it in the loss's `__post_init__`.

    An option of type Literal takes the listed values, a float must be positive, and `int | None` must be at least 1 or
    None.

    Raises:
        InputError: names the loss and the option, what it takes and what came.
    """
    hints = get_type_hints(type(loss))
    for field in fields(loss):
        option = f"{type(loss).__name__.lower()}.{field.name}"
        value, hint = getattr(loss, field.name), hints[field.name]
        if get_origin(hint) is Literal:
            check_choice(option, value, get_args(hint))
        elif hint is float:
            if not _is_number(value) or not 0 < value < math.inf:
                raise InputError(f"{option} must be a positive number, not {value!r}")
        elif value is not None and not (_is_number(value) and isinstance(value, int) and value >= 1):
            raise InputError(
                f"{option} must be a whole number of at least 1, or null for all kept logits; not {value!r}"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
