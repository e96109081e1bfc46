"""Finds the cheapest change of a fusion that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations

from gldbench.plan.hardware import Machine, larger
from gldbench.plan.memory import MOMENTS, NF4
from gldbench.plan.planning import Inputs, Plan, make_plan
from gldbench.plan.settings import BYTES, Settings


@dataclass(frozen=True)
class Change:
    """One change of the settings, with what it costs."""

    words: str
    """what the user writes"""
    cost: int
    """larger: it changes more of the result or of the time"""
    apply: Callable[[Settings], Settings]


CHANGES = (
    Change("train.micro_batch_size: 1", 1, lambda s: replace(s, micro_batch=1)),
    Change("--parallel fsdp", 2, lambda s: replace(s, parallel="fsdp")),
    Change("`cache` for every source", 2, lambda s: replace(s, cached=True)),
    Change("`offload: true` for every source", 3, lambda s: replace(s, offload=True)),
    Change("train.gradient_checkpointing: true", 4, lambda s: replace(s, checkpointing=True)),
    Change("`dtype: bfloat16` for every source", 16, lambda s: replace(s, half_sources=True)),
    Change(
        "train.weights: bfloat16 with train.optimizer: adamw_8bit",
        32,
        lambda s: replace(s, dtype="bfloat16", optimizer="adamw_8bit"),
    ),
    Change("train.lora: {rank: 16}", 64, lambda s: replace(s, lora=s.lora or (16, ()))),
)
"""the changes of settings that a plan may suggest. All changes of the time alone cost less together than the first one
that changes the result, and so on"""


def cheapest_change(inputs: Inputs, plan: Plan) -> tuple[str, Plan] | None:
    """The cheapest set of changes with which a fusion fits: first on the same machine, then on larger ones.

    Args:
        inputs: what the plan was made from.
        plan: a plan that does not fit.

    Returns:
        What to change, in words, and the plan with the change; None if nothing that is known here helps.
    """
    for machine in [plan.machine, *larger(plan.machine)]:
        alone = inputs.recipe.train.on_policy is not None  # such a training runs in one process
        if inputs.recipe.train.batch_size % machine.ranks or (alone and machine.ranks > 1):
            continue
        for chosen in _sets(plan.settings, machine):
            settings = plan.settings
            for change in chosen:
                settings = change.apply(settings)
            if not _may_fit(plan, machine, settings):
                continue
            found = make_plan(inputs, machine, settings)
            if found.fits:
                moved = [] if machine is plan.machine else [f"--hardware {machine.name}"]
                return " and ".join([*moved, *(change.words for change in chosen)]), found
    return None


def _sets(settings: Settings, machine: Machine) -> Iterator[tuple[Change, ...]]:
    """Sets of changes that change something, in the order of their cost."""
    shareable = machine.ranks > 1 and not settings.quantized
    useful = [c for c in CHANGES if c.apply(settings) != settings and (shareable or "fsdp" not in c.words)]
    sets = chain.from_iterable(combinations(useful, n) for n in range(len(useful) + 1))
    return iter(sorted(sets, key=lambda chosen: (sum(c.cost for c in chosen), len(chosen))))


def _may_fit(plan: Plan, machine: Machine, settings: Settings) -> bool:
    """Whether weights, gradients and moments alone fit. If they do not, no pass on fake tensors is needed."""
    size = BYTES[settings.dtype]
    each = (NF4 if settings.quantized else size) if settings.lora else 2 * size + MOMENTS[settings.optimizer]
    share = machine.ranks if settings.parallel == "fsdp" else 1
    return each * plan.value("parameters of pivot") / share <= machine.memory
