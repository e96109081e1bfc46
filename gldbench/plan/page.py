"""A plan as rows of text, sentences and JSON types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from gldbench.plan.actual import Beside
from gldbench.plan.figures import Figure, shown
from gldbench.plan.planning import Plan

HEADER = ("beside the run", "planned", "actual", "ratio", "within")


def memory(plan: Plan) -> list[Figure]:
    """The parts of the memory of one process, and their sum."""
    room = shown(plan.machine.memory, "B")
    verdict = f"fits into the {room} of its device" if plan.fits else f"does not fit into the {room} of its device"
    return [*plan.memory, Figure("together", plan.peak, "B", verdict)]


def before(plan: Plan) -> list[Figure]:
    """The memory of one process that fills a cache before the training; empty if no source is cached."""
    if plan.caching is None:
        return []
    words = "fits" if plan.caching.value <= plan.machine.memory else "does not fit"
    return [replace(plan.caching, assumption=f"{plan.caching.assumption}; {words}")]


def lines(figures: Sequence[Figure]) -> list[tuple[str, str]]:
    """For each figure its name and its value in columns, and its assumption."""
    width = max(len(figure.name) for figure in figures)
    values = [shown(figure.value, figure.unit) for figure in figures]
    wide = max(map(len, values))
    return [(f"{f.name:<{width}}  {v:>{wide}}  ", f.assumption) for f, v in zip(figures, values, strict=True)]


def beside_rows(besides: Sequence[Beside]) -> list[tuple[str, ...]]:
    """One row for each figure that stands beside the run's."""
    verdict = {None: "", True: "yes", False: "no"}
    return [
        (
            one.name,
            shown(one.planned, one.unit),
            "not reported" if one.actual is None else shown(one.actual, one.unit),
            "" if one.ratio is None else f"{one.ratio:.2f}",
            "" if one.within is None else f"{verdict[one.within]}, a factor of {one.factor:g}",
        )
        for one in besides
    ]


def sentences(plan: Plan) -> list[str]:
    """What a reader must know to understand the rows."""
    machine, settings = plan.machine, plan.settings
    shared = {"ddp": "each with the whole model", "fsdp": "which share weights, gradients and moments (fsdp)"}
    how = f"{machine.ranks} processes, {shared[settings.parallel]}" if machine.ranks > 1 else "1 process"
    texts = f"{settings.micro_batch} {'text' if settings.micro_batch == 1 else 'texts'}"
    return [
        f"{plan.recipe} on {machine.title}: {how}, {texts} in a forward pass.",
        *(f"Configuration of {name}: {origin}." for name, origin in plan.models.items()),
    ]


def as_json(plan: Plan, change: tuple[str, Plan] | None, besides: Sequence[Beside] = ()) -> Mapping[str, Any]:
    """The plan as JSON types. Units are those of `Figure.unit`."""
    return {
        "recipe": plan.recipe,
        "hardware": {
            "name": plan.machine.name,
            "title": plan.machine.title,
            "processes": plan.machine.ranks,
            "memory_of_a_process": plan.machine.memory,
            "rate": plan.machine.rate,
            "rate_from": plan.machine.source,
        },
        "settings": asdict(plan.settings),
        "configurations": dict(plan.models),
        "figures": {f.name: _json(f) for f in plan.figures},
        "memory": {f.name: _json(f) for f in plan.memory},
        "peak_memory": plan.peak,
        "caching": plan.caching and _json(plan.caching),
        "fits": plan.fits,
        "cheapest_change": change
        and {"change": change[0], "peak_memory": change[1].peak, "hours": change[1].value("hours of the training")},
        "actual": [asdict(one) | {"ratio": one.ratio, "within": one.within} for one in besides],
    }


def _json(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "unit": figure.unit, "assumption": figure.assumption}


def refusal(plan: Plan, change: tuple[str, Plan] | None) -> str:
    """What the user reads if a plan does not fit."""
    largest = max(plan.memory, key=lambda part: part.value)
    room = shown(plan.machine.memory, "B")
    first = (
        f"{plan.recipe} does not fit {plan.machine.title}: a process needs {shown(plan.peak, 'B')} of "
        f"{room}; the largest part is {largest.name}, {shown(largest.value, 'B')}"
    )
    if plan.caching and plan.peak <= plan.machine.memory:
        first = (
            f"{plan.recipe} does not fit {plan.machine.title}: a process that fills a cache needs "
            f"{shown(plan.caching.value, 'B')} of {room}; {plan.caching.assumption}"
        )
    if change is None:
        return (
            f"{first}\nno change that `gldbench plan` knows makes it fit: use a smaller model, or a smaller max_length"
        )
    words, other = change
    return (
        f"{first}\nthe cheapest change that fits: {words}\n"
        f"a process then needs {shown(other.peak, 'B')} of {shown(other.machine.memory, 'B')}, and the training "
        f"takes {shown(other.value('hours of the training'), 'h')}"
    )
