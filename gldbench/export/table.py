"""Writes items.csv: one line for each grade of each response."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from gldbench.export.results import TaskResult

COLUMNS = (
    "checkpoint",
    "task",
    "task_version",
    "variant",
    "item",
    "cluster",
    "part",
    "grader",
    "grader_version",
    "filter",
    "metric",
    "headline",
    "value",
    "status",
    "how",
    "found",
    "reason",
    "gold",
    "output",
    "prompt",
)


def write(results: Sequence[TaskResult], folder: Path) -> None:
    """Writes the file. A response that is not stored is empty, and a missing value too."""
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for result in results:
            for view, answer in result.items:
                for mark in answer.marks:
                    writer.writerow(
                        (
                            result.subject,
                            result.task,
                            result.version,
                            result.variant,
                            view.item,
                            view.cluster,
                            mark.part,
                            mark.grader,
                            result.grader_versions.get(mark.grader, ""),
                            mark.filter,
                            mark.metric,
                            int(mark is answer.headline),
                            "" if mark.value is None else mark.value,
                            mark.status,
                            mark.how,
                            mark.found,
                            mark.reason,
                            view.gold,
                            answer.output or "",
                            view.prompt,
                        )
                    )
