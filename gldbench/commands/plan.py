"""What `gldbench run --plan` prints for an experiment."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from gldbench.commands.options import print_json

if TYPE_CHECKING:
    from gldbench.spec import Spec

KINDS = {
    "data": "worlds whose data are made",
    "train": "models of worlds",
    "logits": "stored logits of sources",
    "fuse": "fused checkpoints",
    "evaluate": "evaluated checkpoints",
}


def show_plan(spec: Spec, run: Path, workers: int, as_json: bool) -> None:
    """Prints what a run will do, how long it takes and what it can find. Starts nothing.

    Args:
        spec: the experiment.
        run: its folder, which may not exist.
        workers: number of worker processes.
        as_json: print one JSON document instead of text.
    """
    from gldbench.console import print_rows, print_wrapped
    from gldbench.protocol.forecast import forecast
    from gldbench.report.design import power_of_design, sentences
    from gldbench.run import trial_rows
    from gldbench.spec import seeds_of
    from gldbench.tasks import load_task
    from gldbench.worlds.build import families_of

    expected = forecast(spec, run.parent)
    seeds = seeds_of(spec)
    items = spec.world.sets.get("test", 0) * len(families_of(spec.world))
    rows = trial_rows(spec, run)
    chance = {task: load_task(task).chance for task in {row.task for row in rows if row.suite == "world"}}
    power = power_of_design(sum(map(len, seeds.values())), len(seeds), max(1, items), rows, chance)
    hours = expected.seconds / workers / 3600
    if as_json:
        print_json(
            {"name": spec.name, "hours": hours, "workers": workers}
            | {"forecast": dataclasses.asdict(expected), "power": dataclasses.asdict(power)}
        )
        return
    table = [
        (
            KINDS[work.kind],
            f"{work.jobs:,}",
            f"{work.steps:,}" if work.steps else "",
            f"{work.tokens / 1e6:,.1f}" if work.tokens else "",
            f"{work.seconds / 3600:.2f}",
        )
        for work in expected.work
    ]
    print_rows(["work", "number", "steps", "tokens (10⁶, at most)", "hours of one core"], *table)
    tuned = f", tuned in worlds {', '.join(map(str, expected.tuning_worlds))}" if expected.tuning_worlds else ""
    print()
    for sentence in (
        f"Worlds {', '.join(map(str, expected.worlds))}{tuned}. {len(spec.methods)} methods; {expected.trials} "
        "checkpoints are trials at most, and equal trials are made once.",
        f"Expected: {hours:.1f} hours with {workers} workers. Seconds of jobs: {expected.measured}. Done jobs are "
        "counted too.",
        *sentences(power),
    ):
        print_wrapped(sentence)
