"""Reads what is exported: for each checkpoint and task the items with their responses and grades."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gldbench.compare.read import Side, read_side
from gldbench.items.read import collect
from gldbench.items.records import Answer, ItemView, Mark
from gldbench.store import Store


@dataclass(frozen=True)
class TaskResult:
    """The items that one checkpoint was asked of one task under one prompt variant."""

    subject: str
    task: str
    variant: str
    version: int
    settings: Mapping[str, Any]
    """how the responses were generated, as in `generate.settings.Settings`; empty if it is not known"""
    grader_versions: Mapping[str, str]
    items: tuple[tuple[ItemView, Answer], ...]

    @property
    def name(self) -> str:
        """The task without characters that file names must not have, and its variant if that is not the default."""
        plain = self.task.replace("/", "_")
        return plain if self.variant == "default" else f"{plain}-{self.variant}".replace("/", "_")


def label(mark: Mark) -> str:
    """GRADER/FILTER/METRIC."""
    return f"{mark.grader}/{mark.filter}/{mark.metric}"


def whole(answer: Answer) -> list[Mark]:
    """The grades of a whole response, the headline first. Grades of its parts (IFEval) are left out."""
    marks = [mark for mark in answer.marks if not mark.part]
    return sorted(marks, key=lambda mark: mark is not answer.headline)


def read_results(source: str) -> list[TaskResult]:
    """Reads the results of all checkpoints in FOLDER, or of the one in FOLDER:CHECKPOINT.

    Raises:
        InputError: there is no such folder or checkpoint, or it holds no rows.
    """
    return [result for side in _sides(source) for result in _of_side(side)]


def _sides(source: str) -> list[Side]:
    folder = Path(source)
    if not folder.is_dir():
        return [read_side(source)]
    rows = Store(folder).frame()
    rows = pd.DataFrame(rows[rows["suite"] != "training"])
    names = list(dict.fromkeys(rows["subject"]))
    return [read_side(f"{source}:{name}") for name in names] or [read_side(source)]  # which says that there are none


def _of_side(side: Side) -> Iterator[TaskResult]:
    views = collect([side], labels=[side.subject]).items
    groups: dict[tuple[str, str], list[tuple[ItemView, Answer]]] = {}
    for view in views:
        (answer,) = view.answers
        if answer is not None:
            groups.setdefault((view.task, view.variant), []).append((view, answer))
    for (task, variant), items in groups.items():
        rows = side.rows[(side.rows["task"] == task) & (side.rows["variant"] == variant)]
        rows = rows[rows["task_version"] == max(rows["task_version"])]
        yield TaskResult(
            subject=side.subject,
            task=task,
            variant=variant,
            version=int(max(rows["task_version"])),
            settings=json.loads(next(filter(None, rows["settings"]), "{}")),
            grader_versions=dict(zip(rows["grader"], rows["grader_version"], strict=True)),
            items=tuple(items),
        )
