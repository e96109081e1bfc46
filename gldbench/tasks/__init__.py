"""What a benchmark is: the folders of `tasks/`, their data files, prompts, and the items that rows become."""

from __future__ import annotations

from gldbench.tasks.load import (
    CHANGED,
    DEFAULT_VARIANT,
    PAPER11,
    asked_as,
    expand,
    load_items,
    load_task,
    read_task,
    take,
    task_names,
    tasks_root,
)

__all__ = [
    "CHANGED",
    "DEFAULT_VARIANT",
    "PAPER11",
    "asked_as",
    "expand",
    "load_items",
    "load_task",
    "read_task",
    "take",
    "task_names",
    "tasks_root",
]
