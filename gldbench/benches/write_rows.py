"""Makes rows of benchmarks, and writes them as a CSV file next to a description of the environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gldbench.env import environment
from gldbench.schema import Row, Status
from gldfusion.files import atomic_write, write_json


def row(
    task: str, variant: str, subject: str, metric: str, value: float | None, unit: str, *,
    method: str = "", item: str = "", status: Status = "ok", reason: str = "",
) -> Row:  # fmt: skip
    """Makes a row of the suite "kernels"; `write` adds the environment."""
    return Row(
        run_id="", env_id="", suite="kernels", task=task, task_version=1, variant=variant, subject=subject,
        method=method, world_seed=0, seed=0, item=item, cluster="", grader="", filter="",
        metric=metric, value=value, unit=unit, status=status, reason=reason,
    )  # fmt: skip


def write(rows: Sequence[Row], folder: Path, name: str, threads: int, quick: bool = False) -> Path:
    """Writes `NAME.csv` and `NAME.environment.json` into a folder; returns the path of the first.

    Args:
        rows: what `row` made.
        folder: where the files go.
        name: NAME, and the `run_id` of all rows.
        threads: number of threads that were used.
        quick: the rows are of a quick run. NAME then ends in ".quick", so that other rows are not overwritten.
    """
    name = f"{name}.quick" if quick else name
    env = environment(threads=threads, workers=1)
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame([dataclasses.replace(r, run_id=name, env_id=env.env_id) for r in rows])
    path = folder / f"{name}.csv"
    with atomic_write(path, "w") as file:
        frame.to_csv(file, index=False)
    write_json(folder / f"{name}.environment.json", dataclasses.asdict(env))
    return path


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The rows as JSON types, without `run_id` and `env_id`, which only `write` knows."""
    return [{k: v for k, v in dataclasses.asdict(r).items() if k not in ("run_id", "env_id")} for r in rows]
