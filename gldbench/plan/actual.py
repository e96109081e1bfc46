"""What a fusion really took, beside its plan."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gldbench.plan.planning import PIVOT, Plan
from gldfusion.errors import InputError
from gldfusion.paths import require_checkpoint
from gldfusion.reading import read_object
from gldfusion.recipe import Recipe

TOTALS, PROVENANCE = "training_totals.json", "fusion.json"
FLOPS = "FLOPs of the pivot, without attention"
"""4 for each parameter and token, and 2 more if it is trained: `gldfusion.fuse.flops` counts so too"""
MEMORY, TIME = 1.25, 2.0
"""a plan of memory or time is right if it is wrong by at most this factor"""


@dataclass(frozen=True)
class Beside:
    """One figure of a plan, beside what was measured."""

    name: str
    planned: float
    actual: float | None
    """None: the run did not report it"""
    unit: str
    factor: float | None
    """the largest accepted ratio of the two; None: no ratio is promised"""

    @property
    def ratio(self) -> float | None:
        """Planned divided by actual."""
        return self.planned / self.actual if self.actual else None

    @property
    def within(self) -> bool | None:
        """Whether the ratio is accepted; None if there is none, or none is promised."""
        if self.ratio is None or self.factor is None:
            return None
        return 1 / self.factor <= self.ratio <= self.factor


def beside(plan: Plan, recipe: Recipe, fused: Path) -> list[Beside]:
    """Sets a plan beside the totals of the fused checkpoint that was trained by its recipe.

    Args:
        plan: the plan.
        recipe: the recipe.
        fused: the fused checkpoint.

    Raises:
        InputError: the folder is no fused checkpoint, or was trained by another recipe or number of processes.
    """
    require_checkpoint(fused)
    mend = "name the output folder of `gldbench fuse`"
    totals = read_object(fused / TOTALS, "totals of a fusion", mend)
    provenance = read_object(fused / PROVENANCE, "record of a fusion", mend)
    same = json.loads(recipe.train.model_dump_json()) == provenance.get("recipe", {}).get("train")
    if not same:
        raise InputError(
            f"{fused} was not trained with the train settings of {recipe.name}\n"
            "plan with the recipe that made it, or name the checkpoint that this recipe made"
        )
    if provenance.get("processes") != plan.machine.ranks:
        raise InputError(
            f"{fused} was trained by {provenance.get('processes')} processes, the plan is for {plan.machine.ranks}\n"
            "give the --hardware on which it was trained"
        )
    parameters, trained = plan.value(f"parameters of {PIVOT}"), plan.value("trained parameters")
    tokens = plan.value("tokens of the training")
    seconds = 3600 * plan.value("hours of the training")
    return [
        Beside("peak memory of a process", plan.peak, totals["peak_memory_bytes"], "B", MEMORY),
        Beside("time of the training", seconds, totals["seconds"], "s", TIME),
        Beside("tokens of the training", tokens, totals["tokens"], "tokens", None),
        Beside(FLOPS, (4 * parameters + 2 * trained) * tokens, totals["flops"], "FLOP", None),
    ]
