"""The grader "opencompass": OpenCompass 0.5.4's own post-processors and evaluators on stored responses.

OpenCompass Contributors, OpenCompass: A Universal Evaluation Platform for Foundation Models (2023),
https://github.com/open-compass/opencompass

Its evaluators are called directly, in one process of the overlay environment (`gldbench/overlay.py`).
Its own evaluation mode is not used: a failed task ends there with exit code 0 and no score, one answer can fail a whole
benchmark, and its readers of data drop items and take no part of a benchmark. Prompts and stop strings are not
OpenCompass's: the outputs were generated with ours. A low score may therefore mean that its post-processor looks for
the answer format of another prompt.

It always runs in the sandbox: its TheoremQA evaluator gives answers to Python's `eval`, and its code evaluators run
programs. As in EvalPlus, a program and the expected values are in one process there. The sandbox protects the host, and
a process for each item protects the grades of the other items. Nothing protects the program's own grade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from gldbench import overlay
from gldbench.grade.grader import Grade, status_of
from gldbench.grade.opencompass import worker
from gldbench.grade.opencompass.catalogue import CONFIGURATIONS, Configuration
from gldbench.sandbox import launch
from gldbench.schema import Item, Response, Status, Task
from gldfusion.files import hash_file

TIMEOUTS = ("timed out", "timeout")
"""results of OpenCompass's code evaluators that mean a timeout"""


def applies(task: Task) -> bool:
    """Whether OpenCompass has the benchmark, and is set up."""
    return task.kind == "generation" and task.benchmark in CONFIGURATIONS and not missing()


def missing() -> str:
    """Why OpenCompass cannot be used here, and how to change that. "" where it can."""
    if reason := overlay.trouble(overlay.default_place()):
        return f"{reason}; {overlay.FIX}"
    if reason := launch.trouble():
        return f"OpenCompass runs in the sandbox only: {reason}; install bubblewrap (`make system`)"
    return ""


def version() -> str:
    """The version of OpenCompass."""
    return overlay.pinned()["opencompass"]


def headline(task: Task) -> tuple[str, str]:
    """The configuration's name, and the first of its metrics."""
    found = CONFIGURATIONS[task.benchmark]
    return found.name, next(iter(found.metrics))


def rules(task: Task) -> str:
    """Name and hash of the configuration: its file decides which post-processors and evaluators are called."""
    found = CONFIGURATIONS[task.benchmark]
    return f"{found.name} {_hash(found.path)}"


@lru_cache
def _hash(path: str) -> str:
    return hash_file(overlay.configuration_file(overlay.default_place(), path))[:12]


def grade(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
    """One grade per item and metric of the configuration, under OpenCompass's names.

    Where OpenCompass fails on an item, its grades have the status "error", a reason and no value. A question that
    OpenCompass leaves out has the status "skipped".
    """
    configuration = CONFIGURATIONS[task.benchmark]
    grades: dict[str, list[Grade]] = {}
    groups: dict[str, list[tuple[Response, Mapping[str, Any]]]] = {}
    for item, response in zip(items, responses, strict=True):
        try:
            row = configuration.row(item)
        except LookupError as error:
            why = str(error) if type(error) is LookupError else f"the item has no field {error} for OpenCompass"
            status: Status = "skipped" if type(error) is LookupError else "error"
            grades[item.item_id] = _without_value(configuration, item.item_id, status, why)
            continue
        groups.setdefault(configuration.data_set(item), []).append((response, row))
    for data_set, group in groups.items():
        found = _ask(configuration, data_set, group)
        for response, _ in group:
            grades[response.item_id] = _grades(configuration, response, found[response.item_id])
    return [one for item in items for one in grades[item.item_id]]


def _ask(
    configuration: Configuration, data_set: str, group: Sequence[tuple[Response, Mapping[str, Any]]]
) -> dict[str, worker.Found]:
    place = overlay.default_place()
    job = {
        "config": str(overlay.configuration_file(place, configuration.path)),
        "data_set": data_set,
        "gold": configuration.gold,
        "metrics": dict(configuration.metrics),
        "instructions": configuration.instructions,
        "runs_answers": configuration.runs_answers,
    }
    items = [{"id": response.item_id, "output": response.output, "row": row} for response, row in group]
    found = worker.grade_all(place, job, items)
    assert found.keys() == {response.item_id for response, _ in group}, "every item is graded, or says why not"
    return found


def _grades(configuration: Configuration, response: Response, found: worker.Found) -> list[Grade]:
    """One item's grades."""
    if "error" in found:
        return _without_value(configuration, response.item_id, "error", found["error"])
    answer, said = found["found"], found["said"]
    status, reason = status_of(response, answered=bool(response.output.strip() if answer is None else answer.strip()))
    if said in TIMEOUTS:
        status = "timeout"
    if said not in ("", "pass", "passed"):
        reason = "; ".join(part for part in (f"OpenCompass: {said}", reason) if part)
    return [
        Grade(
            item_id=response.item_id,
            filter=configuration.name,
            metric=metric.partition("#")[0],
            value=float(value),
            status=status,
            reason=reason,
            part=metric.partition("#")[2],
            found=answer or "",
        )
        for metric, value in found["values"].items()
    ]


def _without_value(configuration: Configuration, item_id: str, status: Status, reason: str) -> list[Grade]:
    return [
        Grade(item_id=item_id, filter=configuration.name, metric=metric, value=None, status=status, reason=reason)
        for metric in configuration.metrics
    ]
