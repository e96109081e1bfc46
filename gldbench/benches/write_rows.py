"""Rows of the kernel benchmarks, as CSV files beside the environment they were made in."""

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
    """A row of the suite "kernels"; the environment is filled in by `write`."""
    return Row(
        run_id="", env_id="", suite="kernels", task=task, task_version=1, variant=variant, subject=subject,
        method=method, world_seed=0, seed=0, item=item, cluster="", grader="", filter="",
        metric=metric, value=value, unit=unit, status=status, reason=reason,
    )  # fmt: skip


def write(rows: Sequence[Row], folder: Path, name: str, threads: int) -> Path:
    """Writes `folder/name.csv` and `folder/name.environment.json`."""
    env = environment(threads=threads, workers=1)
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame([dataclasses.replace(r, run_id=name, env_id=env.env_id) for r in rows])
    path = folder / f"{name}.csv"
    with atomic_write(path, "w") as file:
        frame.to_csv(file, index=False)
    write_json(folder / f"{name}.environment.json", dataclasses.asdict(env))
    return path
