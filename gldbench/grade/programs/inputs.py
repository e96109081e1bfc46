"""The Python types of MBPP+'s inputs. Its file is JSON, which has no tuples, sets or complex numbers.

EvalPlus 0.3.1 states the types of each problem in code (`evalplus/data/mbpp.py`, `mbpp_deserialize_inputs`). Here each
problem has one form per argument, and the last form also holds for all further arguments. The letters of a form go from
the outside to the inside:

- T: a tuple; L: a list; S: a set ({} where it is empty);
- V: a dictionary, whose values have the rest of the form;
- *: tuples at every depth;
- F: a float; C: a complex number.
"""

from __future__ import annotations

from typing import Any

_FORMS: dict[tuple[str, ...], tuple[int, ...]] = {
    ("T",): (
        2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809,
    ),
    ("LT",): (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780),
    ("LT", ""): (75, 413, 444, 753),
    ("", "T", ""): (106, 750),
    ("LS", ""): (115,),
    ("F", "C"): (124,),
    ("T", ""): (250, 307, 405, 446, 617, 720, 763, 808),
    ("C",): (252,),
    ("TT",): (259, 278, 401, 445),
    ("*",): (580, 615, 791),
    ("VT", ""): (722,),
}  # fmt: skip
_BY_TASK = {f"Mbpp/{number}": forms for forms, numbers in _FORMS.items() for number in numbers}


def typed_inputs(task_id: str, arguments: list[Any]) -> tuple[Any, ...]:
    """The arguments of one call with the types that the problem expects."""
    forms = _BY_TASK.get(task_id, ("",))
    return tuple(_typed(forms[min(place, len(forms) - 1)], value) for place, value in enumerate(arguments))


def _typed(form: str, value: Any) -> Any:
    kind, inner = form[:1], form[1:]
    if kind == "F":
        return float(value)
    if kind == "C":
        return complex(value)
    if kind == "V":
        return {key: _typed(inner, part) for key, part in value.items()}
    if kind == "S":
        return set(value) if value else {}
    if not kind or not isinstance(value, list):
        return value
    parts = [_typed("*" if kind == "*" else inner, part) for part in value]
    return parts if kind == "L" else tuple(parts)
