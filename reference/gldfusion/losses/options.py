"""Checks the options of a loss against the annotations of its fields, where they enter."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gldfusion.errors import InputError
from gldfusion.graph import check_choice


def check_options(loss: Any) -> None:
    """Called by a loss's `__post_init__`: a Literal takes its values, a float is positive, `int | None` is at least 1.

    Raises:
        InputError: names the loss, the option, what it takes and what came.
    """
    hints = get_type_hints(type(loss))
    for field in fields(loss):
        option = f"{type(loss).__name__.lower()}.{field.name}"
        value, hint = getattr(loss, field.name), hints[field.name]
        if get_origin(hint) is Literal:
            check_choice(option, value, get_args(hint))
        elif hint is float:
            if not _is_number(value) or not 0 < value < math.inf:
                raise InputError(f"{option} is a positive number, not {value!r}")
        elif value is not None and not (_is_number(value) and isinstance(value, int) and value >= 1):
            raise InputError(f"{option} is a whole number of at least 1, or null for all that is kept; not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
