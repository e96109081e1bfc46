"""Reads a task.yaml into a `Task`, and says what is wrong with it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter, ValidationError

from gldbench.schema import Dataset, Exemplars, HubSource, Task, Variant
from gldbench.tasks.data import HUB_ROWS
from gldbench.tasks.readers import READERS
from gldfusion.errors import InputError, did_you_mean
from gldfusion.reading import one_line, plain_line, shown
from gldfusion.yaml_reader import read_yaml

FINDERS = ("number", "short_answer")
"""scorers that find the answer themselves, under the filter "answer", where no pattern has this name and lm-eval has a
task of its own"""
_TASK = TypeAdapter(Task)


def read_task(path: Path) -> Task:
    """Reads and checks one task.yaml.

    Raises:
        InputError: it is not YAML, has an unknown key or a value of a wrong type, or its keys contradict each other.
    """
    try:
        task = _TASK.validate_python(read_yaml(path, "task"))
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error)}") from None
    for filter_name, pattern in task.patterns.items():
        try:
            groups = re.compile(pattern).groups
        except (re.error, OverflowError, RecursionError) as error:
            raise InputError(
                f"{path}: answer_pattern {one_line(filter_name, 40)} is not a regular expression: {plain_line(error)}"
            ) from None
        if groups != 1:
            raise InputError(
                f"{path}: answer_pattern {filter_name}: expected one group, which is the answer, got {groups} groups"
            )
    _check_filter(path, task)
    _check_keys(path, task)
    if task.dataset.kind == "file" and not (task.dataset.file and task.dataset.sha256 and task.dataset.count):
        raise InputError(f"{path}: a dataset of kind file needs the keys file, sha256 and count")
    return task


def _check_filter(path: Path, task: Task) -> None:
    """Checks that every grader of the task has a score under the filter of the headline."""
    wanted, found = task.headline.filter, set(task.patterns)
    if not found or wanted in found or (wanted == "answer" and task.scorer in FINDERS and task.harness):
        return
    names = ", ".join(task.patterns)
    if wanted == "answer" and task.scorer in FINDERS:
        raise InputError(
            f'{path}: answer_pattern: expected a filter "answer", which headline.filter names, got {names}\n'
            "without the key harness, the grader lm_eval finds answers by answer_pattern alone\n"
            f'add the filter "answer" to answer_pattern, or name {next(iter(task.patterns))} in headline.filter'
        )
    raise InputError(f'{path}: headline.filter: expected a key of answer_pattern ({names}), got "{wanted}"')


def _check_keys(path: Path, task: Task) -> None:
    """Checks the names of files, readers and HUB_ROWS, and that each hub has a url or a path."""
    exemplars = [e for e in (task.exemplars, *(v.exemplars for v in task.variants.values())) if e is not None]
    for file in (task.dataset.file, *(e.file for e in exemplars)):
        if file is not None and not _below(file):
            raise InputError(f"{path}: file: expected a path below the folder of the data, got {shown(file)}")
    hubs = [source.hub for source in (task.dataset, *exemplars) if source.hub is not None]
    for reader in (task.reader, *(e.reader for e in exemplars)):
        if reader and reader not in READERS:
            raise InputError(f'{path}: no reader is called "{reader}"{did_you_mean(reader, READERS)}')
    for hub in hubs:
        if hub.rows and hub.rows not in HUB_ROWS:
            raise InputError(f'{path}: hub.rows: expected one of {", ".join(HUB_ROWS)}, got "{hub.rows}"')
        if bool(hub.url) == bool(hub.path):
            raise InputError(f"{path}: hub: expected either url or path")


def _below(file: str) -> bool:
    """Whether a path stays below the folder that it is taken relative to, and names a file."""
    parts = PurePosixPath(file).parts
    return bool(parts) and ".." not in parts and parts[0] != "/" and "\0" not in file


def _explain(error: ValidationError) -> str:
    """Describes the first error. Unknown keys come before missing keys, because a misspelt key causes both errors."""
    complaints = sorted(error.errors(), key=lambda e: e["type"] != "unexpected_keyword_argument")
    first = complaints[0]
    where = one_line(".".join(str(part) for part in first["loc"]), 120)
    if first["type"] != "unexpected_keyword_argument":
        return f"{where}: {one_line(first['msg'], 200)}, got {shown(first['input'])}"
    records = (Task, Dataset, Exemplars, HubSource, Variant)
    known = {field.name for record in records for field in dataclasses.fields(record)}
    return f'unknown key "{where}"{did_you_mean(str(first["loc"][-1])[:80], known)}'
