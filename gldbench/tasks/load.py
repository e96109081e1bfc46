"""Reads tasks/: what a benchmark is, and its items from local files or a hub."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from gldbench.schema import Dataset, Exemplars, HubSource, Item, Task, Variant
from gldbench.tasks.data import HUB_ROWS, Record, read_records
from gldbench.tasks.prompts import examples_for, fill, read_examples
from gldbench.tasks.readers import READERS, Reading, plain
from gldfusion.errors import InputError, did_you_mean

DEFAULT_VARIANT = "default"
CHANGED = "+changed-data"
"""what the variant of an item ends in where its data file was not the one that the task was defined on"""

PAPER11 = (
    "bbh",
    "arc_c",
    "mmlu",
    "gsm8k",
    "math",
    "theoremqa",
    "humaneval",
    "mbpp_plus",
    "drop",
    "hellaswag",
    "ifeval",
)
"""the paper's benchmarks; its "EvalPlus for MBPP" is MBPP+"""

TASK_LISTS = {"paper11": PAPER11}


def tasks_root() -> Path:
    """The folder tasks/: package data of an installed wheel, else the folder beside the package in a source tree."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def task_names(root: Path | None = None) -> list[str]:
    """Names of the benchmarks, without their subtasks."""
    return sorted(path.parent.name for path in (root or tasks_root()).glob("*/task.yaml"))


def expand(names: str | Iterable[str]) -> list[str]:
    """Names of tasks without doubles: "paper11", "gsm8k,bbh/navigate", or several such words.

    Raises:
        InputError: no name at all. Whether the names are known, `load_task` finds out.
    """
    words = names.split(",") if isinstance(names, str) else [part for name in names for part in name.split(",")]
    found = [name for word in words if word.strip() for name in TASK_LISTS.get(word.strip(), (word.strip(),))]
    if not found:
        raise InputError(f"no task is named\nknown: {', '.join((*TASK_LISTS, *task_names()))}")
    return list(dict.fromkeys(found))


def load_task(name: str, root: Path | None = None) -> Task:
    """The task called `name`, or one subtask of it ("bbh/navigate"); InputErrors name what is wrong with its YAML."""
    root = root or tasks_root()
    benchmark, _, subtask = name.partition("/")
    known = task_names(root)
    if benchmark not in known:
        hint = f"{did_you_mean(benchmark, [*TASK_LISTS, *known])}\nknown: {', '.join(known)}"
        raise InputError(f'no task is called "{benchmark}"{hint}')
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
    if task.patterns and task.headline.filter not in task.patterns:
        raise InputError(f'{path}: headline.filter "{task.headline.filter}" is none of {", ".join(task.patterns)}')
    _check_keys(path, task)
    if task.dataset.kind == "file" and not (task.dataset.file and task.dataset.sha256 and task.dataset.count):
        raise InputError(f"{path}: a dataset of kind file needs file, sha256 and count")
    return task


def _check_keys(path: Path, task: Task) -> None:
    """Keys of our dictionaries that a task.yaml names."""
    exemplars = [e for e in (task.exemplars, *(v.exemplars for v in task.variants.values())) if e is not None]
    hubs = [source.hub for source in (task.dataset, *exemplars) if source.hub is not None]
    for reader in (task.reader, *(e.reader for e in exemplars)):
        if reader and reader not in READERS:
            raise InputError(f'{path}: no reader is called "{reader}"{did_you_mean(reader, READERS)}')
    for hub in hubs:
        if hub.rows and hub.rows not in HUB_ROWS:
            raise InputError(f'{path}: hub.rows: "{hub.rows}" is none of {", ".join(HUB_ROWS)}')
        if bool(hub.url) == bool(hub.path):
            raise InputError(f"{path}: a hub needs either url or path")


def _explain(error: ValidationError) -> str:
    """The first complaint, unknown keys before missing ones: a misspelt key makes both."""
    complaints = sorted(error.errors(), key=lambda e: e["type"] != "unexpected_keyword_argument")
    first = complaints[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "unexpected_keyword_argument":
        return f"{where}: {first['msg']}, got {first['input']!r:.80}"
    records = (Task, Dataset, Exemplars, HubSource, Variant)
    known = {field.name for record in records for field in dataclasses.fields(record)}
    return f'unknown key "{where}"{did_you_mean(str(first["loc"][-1]), known)}'


def asked_as(task: Task, variant: str = DEFAULT_VARIANT) -> Task:
    """The task with the prompt, examples, token limit and stop strings of a variant; "default" changes nothing."""
    if variant in (DEFAULT_VARIANT, task.prompt_name):
        return task
    if variant not in task.variants:
        raise InputError(
            f'task {task.name} has no variant "{variant}"{did_you_mean(variant, task.variants)}\n'
            f"known: {', '.join((task.prompt_name, *task.variants))}"
        )
    own = task.variants[variant]
    return dataclasses.replace(
        task,
        prompt=own.prompt,
        prompt_name=variant,
        generation=own.generation or task.generation,
        exemplars=own.exemplars or task.exemplars,
    )


def load_items(
    task: Task,
    data: Path | Literal["hub"],
    limit: int | None = None,
    variant: str = DEFAULT_VARIANT,
    allow_changed: bool = False,
) -> list[Item]:
    """The items of a task, in file order; tasks/README.md says what `item_id` is in each.

    Args:
        task: a task of kind "file"; a subtask's task gives only its items.
        data: folder with the benchmarks' files, or "hub".
        limit: at most this many, round-robin over the subtasks.
        variant: whose prompt; generation settings of its own are in `asked_as(task, variant).generation`.
        allow_changed: take files that are not those the task was defined on; `Item.variant` then ends in CHANGED.

    Raises:
        InputError: no such file, or it is not the data that the task was defined on (count, checksum).
    """
    asked, dataset = asked_as(task, variant), task.dataset
    if dataset.kind == "procedural" or dataset.file is None:
        raise InputError(
            f"the items of task {task.name} are generated with their world, not read from files\nuse `gldbench run`"
        )
    found = read_records(task, dataset.file, dataset, data, allow_changed)
    examples, changed = read_examples(asked, data, allow_changed)
    name = asked.prompt_name + (CHANGED if found.changed or changed else "")
    items = []
    for row, record in enumerate(found.rows):
        subtask = str(record.get(dataset.subtask, "")) if dataset.subtask else ""
        if task.subtask and subtask != task.subtask:
            continue
        reading = _reading(task, row, record)
        items.append(
            Item(
                task=task.name,
                variant=name,
                item_id=reading.item_id,
                prompt=fill(asked.prompt, {**reading.fields, **examples_for(examples, task, subtask)}),
                target=reading.target,
                cluster=reading.cluster or subtask or reading.item_id,
                entry=reading.entry,
                golds=reading.golds or ((reading.target,) if reading.target else ()),
                choices=reading.choices,
                record=record,
                subtask=subtask,
            )
        )
    doubled = [item_id for item_id, times in Counter(item.item_id for item in items).items() if times > 1]
    if doubled:
        raise InputError(f"task {task.name}: {dataset.file} has several rows with the id {doubled[0]}")
    return take(items, limit)


def take(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` items, one from each subtask in turn, in file order."""
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}")
    turns: Counter[str] = Counter()
    order = []
    for place, item in enumerate(items):
        order.append((turns[item.subtask], place))
        turns[item.subtask] += 1
    return [items[place] for place in sorted(place for _, place in sorted(order)[:limit])]


def _reading(task: Task, row: int, record: Record) -> Reading:
    """What a row asks; rows of changed data may lack what the reader needs."""
    try:
        return READERS[task.reader](row, record) if task.reader else plain(task.dataset, row, record)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__} {error}"
        raise InputError(f"task {task.benchmark}: row {row} of {task.dataset.file} cannot be read: {reason}") from None
