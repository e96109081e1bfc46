"""Reads tasks/: what a benchmark is, and its items from local files or a hub."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from gldbench.schema import Dataset, Exemplars, HubSource, Item, Task
from gldbench.taskdata import Record, read_records
from gldfusion.errors import InputError, did_you_mean

DEFAULT_VARIANT = "default"


def tasks_root() -> Path:
    """The folder tasks/: package data of an installed wheel, else the folder beside the package in a source tree."""
    package = Path(__file__).resolve().parent
    installed = package / "_tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def task_names(root: Path | None = None) -> list[str]:
    """Names of the benchmarks, without their subtasks."""
    return sorted(path.parent.name for path in (root or tasks_root()).glob("*/task.yaml"))


def load_task(name: str, root: Path | None = None) -> Task:
    """The task called `name`, or one subtask of it ("bbh/navigate"); InputErrors name what is wrong with its YAML."""
    root = root or tasks_root()
    benchmark, _, subtask = name.partition("/")
    known = task_names(root)
    if benchmark not in known:
        raise InputError(f'no task is called "{benchmark}"{did_you_mean(benchmark, known)}\nknown: {", ".join(known)}')
    task = read_task(root / benchmark / "task.yaml")
    if task.name != benchmark:
        raise InputError(
            f'{root / benchmark / "task.yaml"}: expected name: {benchmark} as its folder, got "{task.name}"'
        )
    if not subtask:
        return task
    if subtask not in task.subtasks:
        hint = f"known: {', '.join(task.subtasks)}" if task.subtasks else f"{benchmark} has no subtasks"
        raise InputError(f'task {benchmark} has no subtask "{subtask}"{did_you_mean(subtask, task.subtasks)}\n{hint}')
    return dataclasses.replace(task, name=name)


def read_task(path: Path) -> Task:
    """Reads and checks one task.yaml."""
    try:
        task = TypeAdapter(Task).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error)}") from None
    for filter_name, pattern in task.patterns.items():
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise InputError(f"{path}: answer_pattern {filter_name} is not a regular expression: {error}") from None
        if groups != 1:
            raise InputError(f"{path}: answer_pattern {filter_name} has {groups} groups, expected 1: the answer")
    if task.headline.filter not in task.patterns:
        raise InputError(f'{path}: headline.filter "{task.headline.filter}" is none of {", ".join(task.patterns)}')
    if task.dataset.kind == "file" and not (task.dataset.file and task.dataset.sha256 and task.dataset.count):
        raise InputError(f"{path}: a dataset of kind file needs file, sha256 and count")
    return task


def _explain(error: ValidationError) -> str:
    """The first complaint, unknown keys before missing ones: a misspelt key makes both."""
    complaints = sorted(error.errors(), key=lambda e: e["type"] != "unexpected_keyword_argument")
    first = complaints[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "unexpected_keyword_argument":
        return f"{where}: {first['msg']}, got {first['input']!r:.80}"
    records = (Task, Dataset, Exemplars, HubSource)
    known = {field.name for record in records for field in dataclasses.fields(record)}
    return f'unknown key "{where}"{did_you_mean(str(first["loc"][-1]), known)}'


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """Puts the fields into `template` in one pass; braces and dollars around and inside them stay as they are."""
    names = "|".join(re.escape(name) for name in sorted(fields, key=len, reverse=True))
    text, filled = re.subn(rf"\{{({names})\}}", lambda match: str(fields[match[1]]), template)
    if not filled:
        raise InputError(f"the prompt {template[:60]!r} names none of the fields {', '.join(sorted(fields))}")
    return text


def prompt_of(task: Task, variant: str = DEFAULT_VARIANT) -> str:
    """The prompt template of a variant."""
    if variant == DEFAULT_VARIANT:
        return task.prompt
    if variant not in task.variants:
        raise InputError(
            f'task {task.name} has no variant "{variant}"{did_you_mean(variant, task.variants)}\n'
            f"known: {', '.join((DEFAULT_VARIANT, *task.variants))}"
        )
    return task.variants[variant].prompt


def load_items(
    task: Task, data: Path | Literal["hub"], limit: int | None = None, variant: str = DEFAULT_VARIANT
) -> list[Item]:
    """The items of a task, in file order; `item_id` is the row from 0 in the file.

    Args:
        task: a task of kind "file"; a subtask's task gives only its items.
        data: folder with the benchmarks' files, or "hub".
        limit: at most this many, round-robin over the subtasks.

    Raises:
        InputError: no such file, or it is not the data that the task was defined on (count, checksum).
    """
    template, dataset = prompt_of(task, variant), task.dataset
    if dataset.kind == "procedural" or dataset.file is None:
        raise InputError(
            f"the items of task {task.name} are generated with their world, not read from files\nuse `gldbench run`"
        )
    records = read_records(task, dataset.file, dataset, data)
    hints = _hints(task, data) if task.exemplars and "{_hint}" in template else {}
    items = []
    for row, record in enumerate(records):
        subtask = record[dataset.subtask] if dataset.subtask else None
        if task.subtask and subtask != task.subtask:
            continue
        prompt = fill(template, record if subtask not in hints else {**record, "_hint": hints[subtask]})
        items.append(Item(task.name, variant, str(row), prompt, _target(dataset, record), subtask or str(row)))
    return take(items, limit)


def take(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` items, one from each cluster in turn, clusters in the order in which they first appear."""
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}")
    turns: Counter[str] = Counter()
    order = []
    for place, item in enumerate(items):
        order.append((turns[item.cluster], place))
        turns[item.cluster] += 1
    return [items[place] for place in sorted(place for _, place in sorted(order)[:limit])]


def _target(dataset: Dataset, record: Record) -> str:
    """The gold answer of a row."""
    text = str(record[dataset.target])
    if dataset.target_pattern is not None:
        found = re.search(dataset.target_pattern, text)
        if found is None:
            raise InputError(f"no gold answer in {text[-60:]!r}: expected {dataset.target_pattern}")
        text = found[1]
    return text.translate(str.maketrans("", "", dataset.target_without))


def _hints(task: Task, data: Path | Literal["hub"]) -> dict[str | None, str]:
    """subtask -> its worked examples, without the canary line that guards the file."""
    exemplars = task.exemplars
    if exemplars is None or task.dataset.subtask is None:
        return {}
    hints = {}
    for record in read_records(task, exemplars.file, exemplars, data):
        text = record[exemplars.text]
        hints[record[task.dataset.subtask]] = text.partition(exemplars.after)[2] if exemplars.after else text
    return hints
