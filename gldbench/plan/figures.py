"""A figure of a plan: a number, its unit, and the assumption behind it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One number of a plan."""

    name: str
    value: float
    unit: str
    """parameters, tokens, FLOP, B, s, h or a count of something"""
    assumption: str
    """a sentence: where the number comes from"""


def shown(value: float, unit: str) -> str:
    """A number with its unit, as a person reads it."""
    if unit == "B":
        return next(f"{value / size:,.1f} {name}" for size, name in _SIZES if value >= size or size == 1)
    if unit == "FLOP":
        return f"{value:.3g} FLOP"
    if unit == "h" and 0 < value < 0.1:
        return shown(3600 * value, "s")
    if unit in ("s", "h"):
        return f"{value:,.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"
    return f"{value:,.0f} {unit}".strip()


_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1, "B"))
