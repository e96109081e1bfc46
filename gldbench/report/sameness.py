"""Checks that the methods of a comparison were trained alike, from what their trainings logged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from gldbench.report import names
from gldbench.report.training import SUITE, TOTAL
from gldbench.schema import Row
from gldfusion.errors import InputError

KEYS = ("steps", "learning_rate", "tokens")
"""what must be equal; the learning rate is the sum over all steps. A method may name a key in `differs_in`"""

Training = dict[str, float]
"""key of `KEYS` -> value"""


def require_same(rows: Sequence[Row], spec: Mapping[str, Any]) -> None:
    """Refuses a comparison whose methods were trained differently, with the same seed in the same world.

    Only methods that train through gldfusion are compared: others, such as merging of weights, have no steps in common.

    Args:
        rows: all rows of the run.
        spec: its parsed spec.yaml. Nothing is required if it is no comparison.

    Raises:
        InputError: names the method, the key and both values.
    """
    if not any(spec.get(key) for key in ("primary", "tuning", "weights_from")):
        return
    trained = _trained(rows)
    for (method, world, seed), own in sorted(trained.items()):
        settings = spec["methods"].get(method)
        base = trained.get((names.BASELINE, world, seed))
        if settings is None or base is None or settings.get("kind", "train") != "train":
            continue
        for key in KEYS:
            declared = key in settings.get("differs_in", ())
            declared |= key == "tokens" and settings.get("sample_seed") is not None
            if not declared and key in own and key in base and own[key] != base[key]:
                raise InputError(
                    f"the methods of a comparison must be trained alike: {method} with seed {seed} in world {world} "
                    f"has {key} {own[key]:g}, {names.BASELINE} has {key} {base[key]:g}\n"
                    f"delete the checkpoints that differ and run again, or add {key} to `differs_in` of the method"
                )


def _trained(rows: Sequence[Row]) -> dict[tuple[str, int, int], Training]:
    found: dict[tuple[str, int, int], Training] = defaultdict(dict)
    rates: dict[tuple[str, int, int], dict[int, float]] = defaultdict(dict)
    for row in rows:
        if row.suite != SUITE or row.value is None:
            continue
        subject = (row.method, row.world_seed, row.seed)
        if row.item == TOTAL:
            if row.metric == "tokens":
                found[subject]["tokens"] = row.value
        elif row.metric == "learning_rate":
            rates[subject][int(row.item)] = row.value
    for subject, by_step in rates.items():
        found[subject] |= {"steps": float(max(by_step)), "learning_rate": round(sum(by_step.values()), 12)}
    return dict(found)
