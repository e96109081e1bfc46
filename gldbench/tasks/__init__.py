"""Reads benchmarks: folders of tasks/ (`load`), data files (`data`), rows (`readers`) and prompts (`prompts`).

tasks/README.md says how to add a benchmark.
"""

from __future__ import annotations

from gldbench.tasks.load import (
    CHANGED,
    DEFAULT_VARIANT,
    PAPER11,
    TASKS_VARIABLE,
    asked_as,
    expand,
    load_items,
    load_task,
    take,
    task_names,
    tasks_root,
    tasks_roots,
)

__all__ = [
    "CHANGED",
    "DEFAULT_VARIANT",
    "PAPER11",
    "TASKS_VARIABLE",
    "asked_as",
    "expand",
    "load_items",
    "load_task",
    "take",
    "task_names",
    "tasks_root",
    "tasks_roots",
]
