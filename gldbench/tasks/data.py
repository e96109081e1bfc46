"""The rows of a benchmark's data files, from a local folder or a hub, refused where they are not the rows meant."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gldbench.schema import Dataset, Exemplars, HubSource, Task
from gldfusion.errors import InputError

Record = dict[str, Any]
"""one row of a data file"""

_SEPARATORS = ((", ", ": "), (",", ":"))


@dataclass(frozen=True)
class Records:
    """The rows of one file, in file order."""

    rows: list[Record]
    changed: bool
    """they are not the rows that the task was defined on, and were asked for all the same"""


def read_records(
    task: Task, file: str, expected: Dataset | Exemplars, data: Path | Literal["hub"], allow_changed: bool = False
) -> Records:
    """The rows of `file`; the whole file is checked once, before any row is looked at.

    Args:
        task: names the benchmark in messages, and its subtasks where a hub keeps each apart.
        file: JSON lines below the folder `data`; `<file>.gz` where that is what is there.
        expected: what the task was defined on: count, checksum of the uncompressed file, and where the hub has it.
        data: the folder, or "hub".
        allow_changed: take other content too, and say so in the result.

    Raises:
        InputError: no such file, or other content.
    """
    where, content = _read(data, file) if data != "hub" else (f"the hub's {file}", _hub_content(task, file, expected))
    # split only at \n: a JSON string may hold other line separators
    lines = [line for line in content.split(b"\n") if line]
    changed = (len(lines), _checksum(content)) != (expected.count, expected.sha256)
    if changed and not allow_changed:
        raise InputError(
            f"task {task.benchmark}: {where} is not the data that the task was defined on: expected {expected.count} "
            f"rows with sha256 {expected.sha256[:12]}, got {len(lines)} rows with {_checksum(content)[:12]}\n"
            f"restore it from {task.dataset.source} at {task.dataset.revision},\n"
            "or take it as it is with --allow-changed-data: every row of results then says so"
        )
    return Records([_parse(task, where, number, line) for number, line in enumerate(lines, start=1)], changed)


def _parse(task: Task, where: str, number: int, line: bytes) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"task {task.benchmark}: {where}, line {number} is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise InputError(f"task {task.benchmark}: {where}, line {number}: expected an object, got {line[:40]!r}")
    return record


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(data: Path, file: str) -> tuple[str, bytes]:
    path = data / file
    if path.is_file():
        return str(path), path.read_bytes()
    packed = path.with_name(path.name + ".gz")
    if not packed.is_file():
        raise InputError(
            f"benchmark data not found: expected {path} (or .gz)\n"
            "give the folder that holds one folder per benchmark with --data, or --data hub to load it"
        )
    return str(packed), _unpack(packed)


def _unpack(packed: Path) -> bytes:
    try:
        return gzip.decompress(packed.read_bytes())
    except (OSError, EOFError) as error:
        raise InputError(f"{packed} is not a whole gzip file: {error}\nfetch it again") from None


def _hub_content(task: Task, file: str, expected: Dataset | Exemplars) -> bytes:
    """What the file would hold: the hub's own bytes, or its rows written in the way that has the right checksum."""
    hub = expected.hub
    if hub is None:
        raise InputError(f"task {task.benchmark}: no hub holds {file}\ngive a folder with --data")
    if hub.url:
        content = _download(task, hub.url)
        if not content.lstrip().startswith(b"["):
            return content
        records = json.loads(content)
    else:
        records = _hub_records(task, hub)
    written = [_as_lines(records, ascii_only, compact) for ascii_only in (True, False) for compact in _SEPARATORS]
    return next((text for text in written if _checksum(text) == expected.sha256), written[0])


def _as_lines(records: Sequence[Record], ascii_only: bool, separators: tuple[str, str]) -> bytes:
    """Rows as JSON lines; with every usual way of writing them, the bytes of the files that tasks name."""
    return "".join(json.dumps(r, ensure_ascii=ascii_only, separators=separators) + "\n" for r in records).encode()


def _hub_records(task: Task, hub: HubSource) -> list[Record]:
    per_subtask = "{subtask}" in f"{hub.name}{hub.data_files}"
    records = []
    for subtask in task.subtasks if per_subtask else [None]:
        for row in _load(task, hub, subtask):
            record = {ours: row[theirs] for ours, theirs in hub.fields.items()}
            record = HUB_ROWS[hub.rows](row) if hub.rows else record
            records.append({str(task.dataset.subtask): subtask, **record} if per_subtask else record)
    return records


def _download(task: Task, url: str) -> bytes:
    """The bytes behind `url`, unpacked; kept in the cache of `datasets`, which also knows of HF_HUB_OFFLINE."""
    from datasets import DownloadManager
    from datasets.exceptions import DatasetsError

    try:
        path = Path(str(DownloadManager().download(url)))
    except (OSError, ValueError, DatasetsError) as error:
        raise _out_of_reach(task, url, error) from None
    return _unpack(path) if path.read_bytes()[:2] == b"\x1f\x8b" else path.read_bytes()


def _load(task: Task, hub: HubSource, subtask: str | None) -> Iterator[Record]:
    """Rows of one configuration; every way in which a hub can be out of reach is one message."""
    from datasets import load_dataset  # takes a second to import, and only `--data hub` needs it
    from datasets.exceptions import DatasetsError

    def named(text: str | None) -> str | None:
        return text and text.replace("{subtask}", subtask or "")

    try:
        rows = load_dataset(
            hub.path,
            named(hub.name),
            data_files=named(hub.data_files),
            revision=hub.revision,
            split=hub.split,
            **hub.options,
        )
    except (OSError, ValueError, DatasetsError) as error:
        raise _out_of_reach(task, str(named(hub.data_files) or hub.path), error) from None
    yield from rows


def _out_of_reach(task: Task, where: str, error: Exception) -> InputError:
    return InputError(
        f"task {task.benchmark}: no hub in reach for {where} ({' '.join(str(error).split())[:160]})\n"
        "check the network and HF_HUB_OFFLINE, or give a folder with --data"
    )


def _arc_row(row: Record) -> Record:
    """allenai/ai2_arc -> AI2's own layout."""
    options = [{"text": t, "label": n} for t, n in zip(row["choices"]["text"], row["choices"]["label"], strict=True)]
    return {"id": row["id"], "question": {"stem": row["question"], "choices": options}, "answerKey": row["answerKey"]}


def _mmlu_row(row: Record) -> Record:
    """cais/mmlu -> one field an option, the answer as a letter."""
    options = dict(zip("ABCD", row["choices"], strict=True))
    return {"question": row["question"], **options, "answer": "ABCD"[row["answer"]]}


HUB_ROWS: dict[str, Callable[[Record], Record]] = {"arc": _arc_row, "mmlu": _mmlu_row}
