"""Writes the folder of a new task from its data file: count, checksum, and what the fields of the rows suggest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gldbench.schema import Task
from gldbench.tasks.data import Record
from gldbench.tasks.load import load_task, task_names
from gldbench.tasks.options import OPTIONS, options
from gldbench.tasks.read_yaml import read_task
from gldbench.tasks.readers import READERS
from gldfusion.errors import InputError
from gldfusion.files import atomic_write
from gldfusion.reading import parse_json, read_bytes, read_packed

QUESTIONS = ("question", "problem", "prompt", "input", "query", "instruction", "text", "context")
GOLDS = ("answer", "target", "gold", "label", "solution", "output", "completion", "response")
SUBTASKS = ("subtask", "subject", "task", "category", "domain", "topic", "type")
"""usual names of fields, the likeliest first"""
PLAIN_NAMES = ("test", "train", "dev", "val", "validation", "data", "items", "eval", "main")
"""names of files that say nothing about the benchmark; the name of their folder does"""
MOST_SUBTASKS = 100
ONE_OBJECT = "expected a file with one JSON object in each line"
FILL_IN = "FILL IN"
"""value of a key that only the user can know"""


@dataclass(frozen=True)
class NewTask:
    """A written task folder."""

    name: str
    folder: Path
    data: Path
    """folder to name with --data"""
    count: int
    guessed: dict[str, str]
    """key of task.yaml -> what was guessed for it"""
    missing: tuple[str, ...]
    """what the user must fill in or check"""


def new_task(file: Path, name: str = "", into: Path = Path("tasks")) -> NewTask:
    """Writes `into`/NAME/task.yaml for the rows of `file`, and checks that it can be read.

    Args:
        file: JSON lines, one object in each; may be compressed (.gz).
        name: name of the task; empty: from the name of the file, or of its folder if the file is called test.jsonl.
        into: folder of task folders. It is made if it does not exist.

    Raises:
        InputError: the file cannot be read, the name is not a valid one or is taken, or the folder exists.
    """
    content, records = _read(file)
    stem = file.name.removesuffix(".gz").partition(".")[0]
    parent = file.resolve().parent
    in_folder = stem.lower() in PLAIN_NAMES
    name = name or re.sub(r"\\W+", "_", (parent.name if in_folder else stem).lower()).strip("_")
    folder = into / name
    if not re.fullmatch(r"\w+", name):
        raise InputError(f'a task cannot be called "{name}"\nuse letters, digits and "_", and name it with --name')
    if folder.exists():
        raise InputError(f"will not overwrite {folder}: it already exists\nchoose another --name or --into")
    if name in task_names():
        raise InputError(f'there is a task "{name}" already\nchoose another one with --name')
    relative = f"{parent.name}/{file.name}" if in_folder else file.name
    facts = {"file": relative.removesuffix(".gz"), "sha256": hashlib.sha256(content).hexdigest(), "count": len(records)}
    text, guessed, missing = _task_yaml(name, facts, records)
    path = folder / "task.yaml"
    with atomic_write(path) as out:
        out.write(text.encode())
    try:
        read_task(path)
    except InputError:
        path.unlink()
        folder.rmdir()
        raise
    data = parent.parent if in_folder else parent
    return NewTask(name=name, folder=folder, data=data, count=len(records), guessed=guessed, missing=tuple(missing))


def _read(file: Path) -> tuple[bytes, list[Record]]:
    read = read_packed if file.suffix == ".gz" else read_bytes
    content = read(file, "data file", ONE_OBJECT)
    records = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line:
            continue
        record = parse_json(line, f"{file}, line {number}", ONE_OBJECT)
        if not isinstance(record, dict):
            raise InputError(f"{file}, line {number}: expected an object, got {line[:40]!r}")
        records.append(record)
    if not records:
        raise InputError(f"{file} holds no rows\n{ONE_OBJECT}")
    return content, records


def _task_yaml(name: str, facts: Mapping[str, Any], records: Sequence[Record]) -> tuple[str, dict[str, str], list[str]]:
    """The text of task.yaml, what was guessed, and what is missing."""
    missing = [
        "title, source, revision and licence of the data, citation",
        "chance: score of the best guess, in [0, 1]",
    ]
    reader = _known_reader(records)
    if reader is not None:
        return _yaml(name, facts, _like(reader)), {"reader": f"{reader.reader}, as in {reader.name}"}, missing
    fields = _shared_fields(records)
    subtask = next((f for f in _named(SUBTASKS, fields) if _is_subtask(f, records)), "")
    parts = {
        "subtask": subtask,
        "subtasks": list(dict.fromkeys(str(record[subtask]) for record in records)) if subtask else [],
    }
    lettered, why_not = _lettered(records)
    if lettered:
        guessed = {"reader": "options, for rows with a list of options"} | ({"subtask": subtask} if subtask else {})
        return _yaml(name, facts, lettered | parts), guessed, missing
    question, gold = _first(QUESTIONS, fields), _first(GOLDS, fields)
    guessed = {"prompt": question or "nothing", "dataset.target": gold or "nothing"}
    if not question:
        missing.insert(0, f"prompt: name one of the fields {', '.join(fields)} in braces")
    if not gold:
        missing.insert(0, f"dataset.target: which of {', '.join(fields)} holds the gold answer")
    if named := _first(OPTIONS, fields):
        missing.insert(
            0,
            f"reader: the rows have {named}, but the reader options cannot read them ({' '.join(why_not.split())}); "
            "a reader puts them into the prompt (tasks/README.md, Readers)",
        )
    golds = [str(record.get(gold, "")) for record in records]
    marked = all(re.search(r"####\s*\S+\s*$", text) for text in golds)
    numbers = [text.rpartition("####")[2].replace(",", "").strip() for text in golds]
    scorer = "number" if all(re.fullmatch(r"[-$]*\d+(\.\d+)?%?", text) for text in numbers) else "short_answer"
    guessed["scorer"] = scorer
    if subtask:
        guessed["dataset.subtask"] = subtask
    kept = {
        "target": gold or FILL_IN,
        "target_pattern": r"####\s*(\S+)\s*$" if marked else "",
        "target_without": "," if scorer == "number" else "",
        **parts,
        "prompt": f'{{{question or FILL_IN}}}\nEnd with "The answer is" and the answer.',
        "scorer": scorer,
        "max_tokens": 1024 if scorer == "number" else 512,
        "headline": "{grader: ours, filter: answer, metric: exact_match}",
    }
    return _yaml(name, facts, kept), guessed, missing


def _lettered(records: Sequence[Record]) -> tuple[dict[str, Any], str]:
    """The keys of a task with lettered options, and "". Without a list of options in every row: none, and why."""
    counts = set()
    for number, record in enumerate(records):
        try:
            counts.add(len(options(number, record).choices))
        except InputError as error:
            return {}, f"row {number}: {error}"
    kept = {
        "reader": "options",
        "prompt": '{question}\n{options}\nEnd with "The answer is" and the letter of the right option: {letters}.',
        "scorer": "choice",
        "max_tokens": 512,
        "headline": "{grader: ours, filter: answer, metric: accuracy}",
        "chance": f"{1 / min(counts):.4f}",
    }
    return kept, ""


def _known_reader(records: Sequence[Record]) -> Task | None:
    """The benchmark whose reader reads all rows, because they have its fields; None: there is none."""
    for name in task_names():
        task = load_task(name)
        if not task.reader or task.kind != "generation" or task.scorer == "code":
            continue
        try:
            readings = [READERS[task.reader](number, record) for number, record in enumerate(records)]
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):  # rows of another shape
            continue
        if len({reading.item_id for reading in readings}) == len(records) and all(r.target for r in readings):
            return task
    return None


def _like(task: Task) -> dict[str, Any]:
    """The keys that a task with the same reader shares."""
    headline = task.headline
    return {
        "reader": task.reader,
        "prompt": task.prompt,
        "scorer": task.scorer,
        "max_tokens": task.generation.max_tokens,
        "headline": f"{{grader: {headline.grader}, filter: {headline.filter}, metric: {headline.metric}}}",
    }


def _shared_fields(records: Sequence[Record]) -> list[str]:
    """Fields that every row has, in the order of the first row."""
    return [field for field in records[0] if all(field in record for record in records)]


def _named(usual: Sequence[str], fields: Sequence[str]) -> list[str]:
    """The fields with usual names, whatever their case; the likeliest first."""
    return [field for name in usual for field in fields if field.lower() == name]


def _first(usual: Sequence[str], fields: Sequence[str]) -> str:
    return next(iter(_named(usual, fields)), "")


def _is_subtask(field: str, records: Sequence[Record]) -> bool:
    """Whether the field divides the rows into a few parts with several rows each."""
    values = [record[field] for record in records]
    parts = {value for value in values if isinstance(value, str) and value}
    return all(isinstance(value, str) and value for value in values) and 1 < len(parts) <= min(
        MOST_SUBTASKS, len(values) // 2
    )


def _quoted(text: str) -> str:
    """A YAML text in double quotes: JSON texts are valid YAML."""
    return json.dumps(text, ensure_ascii=False)


def _yaml(name: str, facts: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """The text of task.yaml, with a comment above what must be checked."""
    lines = [
        f"# Written by `gldbench tasks new`. Replace every {FILL_IN}; tasks/README.md explains every key.",
        f"name: {name}",
        "version: 1",
        f"title: {_quoted(f'{name}: {FILL_IN}')}",
        "dataset:",
        "  kind: file",
        "  # path below the folder that --data names",
        f"  file: {_quoted(facts['file'])}",
        f"  source: {FILL_IN}",
        f"  revision: {FILL_IN}",
        f"  sha256: {facts['sha256']}",
        f"  count: {facts['count']}",
        f"  licence: {FILL_IN}",
    ]
    if kept.get("target"):
        lines += ["  # field of the gold answer", f"  target: {_quoted(kept['target'])}"]
    if kept.get("target_pattern"):
        lines += ["  # group 1 is the gold answer inside that field", f"  target_pattern: '{kept['target_pattern']}'"]
    if kept.get("target_without"):
        lines += [f"  target_without: '{kept['target_without']}'"]
    if kept.get("subtask"):
        lines += [f"  subtask: {_quoted(kept['subtask'])}"]
    if kept.get("subtasks"):
        lines += [f"subtasks: [{', '.join(map(_quoted, kept['subtasks']))}]"]
    if kept.get("reader"):
        lines += [
            "# makes the fields of the prompt, the gold answer and the options of a row",
            f"reader: {kept['reader']}",
        ]
    lines += [
        "# {field} is replaced by the field of the row; every other brace stays",
        f"prompt: {_quoted(kept['prompt'])}",
        "# how an answer is compared with the gold answer",
        f"scorer: {kept['scorer']}",
        "# the answer ends at the end token, at a stop text, or at the token limit",
        f"generation: {{max_tokens: {kept['max_tokens']}, stop: []}}",
        "# the number that is quoted first",
        f"headline: {kept['headline']}",
        "# score in [0, 1] of the best guess without solving the task: say here which guess that is",
        f"chance: {kept.get('chance', '0.0')}",
        f"citation: {_quoted(FILL_IN)}",
        "",
    ]
    return "\n".join(lines)
