"""Reads a benchmark's task.yaml (`load_task`), and makes its items from its data file (`load_items`)."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from gldbench.schema import Item, Task
from gldbench.tasks.data import Record, read_records
from gldbench.tasks.prompts import examples_for, fill, read_examples
from gldbench.tasks.read_yaml import read_task
from gldbench.tasks.readers import READERS, Reading, plain
from gldfusion.errors import InputError, did_you_mean
from gldfusion.paths import resolved

DEFAULT_VARIANT = "default"
CHANGED = "+changed-data"
"""end of an item's `variant` if its data file has another checksum than task.yaml says"""

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
"""the eleven benchmarks of the paper; its "EvalPlus for MBPP" is MBPP+"""

TASKS_VARIABLE = "GLDBENCH_TASKS"
"""environment variable that names more folders of task folders, separated like the folders of PATH"""

TASK_LISTS = {"paper11": PAPER11}
"""names that stand for several tasks"""


def tasks_root() -> Path:
    """Returns the folder tasks/. In a wheel it is package data; in a source tree it lies next to the package."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def tasks_roots() -> list[Path]:
    """Returns all folders of task folders: our own tasks/, then those that the variable GLDBENCH_TASKS names.

    Raises:
        InputError: GLDBENCH_TASKS names a folder that does not exist.
    """
    roots = [tasks_root()]
    for text in filter(None, os.environ.get(TASKS_VARIABLE, "").split(os.pathsep)):
        root = resolved(Path(text).expanduser())
        if not root.is_dir():
            raise InputError(f"no folder of tasks {text}\nname an existing one with --tasks-dir or {TASKS_VARIABLE}")
        if (root / "task.yaml").is_file():
            raise InputError(f"{text} is the folder of one task\nname the folder that holds it: {root.parent}")
        if root not in roots:
            roots.append(root)
    return roots


def _folders(root: Path | None) -> dict[str, Path]:
    """name of a benchmark -> its folder, below `root` or below all of `tasks_roots()`."""
    found: dict[str, Path] = {}
    for place in [root] if root else tasks_roots():
        for path in sorted(place.glob("*/task.yaml")):
            folder = path.parent
            if folder.name in found:
                raise InputError(
                    f'two folders hold a task "{folder.name}": {found[folder.name]} and {folder}\n'
                    "rename one of them, with its key name, or do not name its folder"
                )
            found[folder.name] = folder
    return dict(sorted(found.items()))


def task_names(root: Path | None = None) -> list[str]:
    """Returns the names of all benchmarks, without their subtasks.

    Args:
        root: folder of the task folders; None: all of `tasks_roots()`.

    Raises:
        InputError: a name occurs in two folders.
    """
    return list(_folders(root))


def expand(names: str | Iterable[str]) -> list[str]:
    """Splits comma-separated task names, replaces "paper11" by its tasks, and drops repeated names.

    Args:
        names: "paper11", "gsm8k,bbh/navigate", or several such texts.

    Raises:
        InputError: there is no name at all. `load_task` checks whether a name is known.
    """
    words = names.split(",") if isinstance(names, str) else [part for name in names for part in name.split(",")]
    found = [name for word in words if word.strip() for name in TASK_LISTS.get(word.strip(), (word.strip(),))]
    if not found:
        raise InputError(
            f"no task is named: expected comma-separated names, or {', '.join(TASK_LISTS)}\n"
            "`gldbench tasks list` shows the known names"
        )
    return list(dict.fromkeys(found))


def load_task(name: str, root: Path | None = None) -> Task:
    """Reads the task `name` from its task.yaml.

    Args:
        name: name of a benchmark, or of one of its subtasks: "bbh/navigate".
        root: folder of the task folders; None: all of `tasks_roots()`.

    Raises:
        InputError: the name is unknown or occurs twice, or its task.yaml is not valid (see `read_task`).
    """
    benchmark, _, subtask = name.partition("/")
    known = _folders(root)
    if benchmark not in known:
        hint = did_you_mean(benchmark, [*TASK_LISTS, *known])
        raise InputError(
            f'no task is called "{benchmark}"{hint}\n`gldbench tasks list` shows the known ones; '
            f"--tasks-dir or {TASKS_VARIABLE} names a folder with your own"
        )
    path = known[benchmark] / "task.yaml"
    task = read_task(path)
    if task.name != benchmark:
        raise InputError(f'{path}: expected the name of its folder, name: {benchmark}, got "{task.name}"')
    if not subtask:
        return task
    if subtask not in task.subtasks:
        hint = f"known: {', '.join(task.subtasks)}" if task.subtasks else f"{benchmark} has no subtasks"
        raise InputError(f'task {benchmark} has no subtask "{subtask}"{did_you_mean(subtask, task.subtasks)}\n{hint}')
    return dataclasses.replace(task, name=name)


def asked_as(task: Task, variant: str = DEFAULT_VARIANT) -> Task:
    """Returns the task with the prompt, examples, token limit and stop strings of a variant.

    Args:
        task: what `load_task` returned.
        variant: a key of `task.variants`; "default" and `task.prompt_name` return the task itself.

    Raises:
        InputError: the task has no such variant.
    """
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
    """Makes the items of a task, in the order of the file. tasks/README.md says what `item_id` is in each task.

    Args:
        task: a task whose dataset is of kind "file". The task of a subtask gives only the items of that subtask.
        data: folder with the files of the benchmarks, or "hub".
        limit: most items, taken from the subtasks in turn; None: all.
        variant: the prompt variant. `asked_as(task, variant).generation` has its token limit and stop strings.
        allow_changed: accept files with another checksum; `Item.variant` then ends in CHANGED.

    Raises:
        InputError: there is no such file, its number of rows or checksum differs, or a row cannot be read.
    """
    asked, dataset = asked_as(task, variant), task.dataset
    if dataset.kind == "procedural" or dataset.file is None:
        raise InputError(
            f"the items of task {task.name} are not read from files: `gldbench run` generates them with their world\n"
            "use `gldbench run`, or name another task"
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
        raise InputError(f"task {task.name}: {dataset.file} has several rows with the id {doubled[0]}\nids must differ")
    return take(items, limit)


def take(items: Sequence[Item], limit: int | None) -> list[Item]:
    """Takes at most `limit` items, one from each subtask in turn; they stay in the order of the file."""
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
    """Reads one row. A row of a changed file may lack a field that the reader needs."""
    try:
        return READERS[task.reader](row, record) if task.reader else plain(task.dataset, row, record)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__} {error}"
        raise InputError(f"task {task.benchmark}: row {row} of {task.dataset.file} cannot be read: {reason}") from None
