"""The rows of a benchmark's data files, from a local folder or a hub, refused where they are not the rows meant."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from gldbench.schema import Dataset, Exemplars, HubSource, Task
from gldfusion.errors import InputError

Record = dict[str, Any]
"""one row of a data file"""


def read_records(task: Task, file: str, expected: Dataset | Exemplars, data: Path | Literal["hub"]) -> list[Record]:
    """The rows of `file`, in file order.

    Args:
        task: names the benchmark in messages, and its subtasks where a hub keeps each apart.
        file: JSON lines below the folder `data`; `<file>.gz` where that is what is there.
        expected: what the task was defined on: count, checksum of the uncompressed file, and where the hub has it.
        data: the folder, or "hub".

    Raises:
        InputError: no such file, or other content.
    """
    if data == "hub":
        where, records = f"the hub's {file}", _hub_records(task, file, expected.hub)
        written = [_as_lines(records, ascii_only) for ascii_only in (True, False)]
        content = next((text for text in written if _checksum(text) == expected.sha256), written[0])
    else:
        where, content = _read(data, file)
    # split only at \n: a JSON string may hold other line separators
    lines = [line for line in content.split(b"\n") if line]
    if (len(lines), _checksum(content)) != (expected.count, expected.sha256):
        raise InputError(
            f"task {task.benchmark}: {where} is not the data that the task was defined on\n"
            f"expected {expected.count} rows with sha256 {expected.sha256[:12]}, "
            f"got {len(lines)} rows with {_checksum(content)[:12]}\n"
            f"restore it from {task.dataset.source} at {task.dataset.revision}"
        )
    return [json.loads(line) for line in lines]


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _as_lines(records: Sequence[Record], ascii_only: bool) -> bytes:
    """Rows as JSON lines; with both ways of writing other characters, the bytes of the files that tasks name."""
    return "".join(json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records).encode()


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
    try:
        return str(packed), gzip.decompress(packed.read_bytes())
    except (OSError, EOFError) as error:
        raise InputError(f"{packed} is not a whole gzip file: {error}\nfetch it again") from None


def _hub_records(task: Task, file: str, hub: HubSource | None) -> list[Record]:
    if hub is None:
        raise InputError(f"task {task.benchmark}: no hub holds {file}\ngive a folder with --data")
    per_subtask = "{subtask}" in f"{hub.name}{hub.data_files}"
    records = []
    for subtask in task.subtasks if per_subtask else [None]:
        for row in _load(task, hub, subtask):
            record = {ours: row[theirs] for ours, theirs in hub.fields.items()}
            records.append({str(task.dataset.subtask): subtask, **record} if per_subtask else record)
    return records


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
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"task {task.benchmark}: no hub in reach for {named(hub.data_files) or hub.path} ({reason})\n"
            "check the network and HF_HUB_OFFLINE, or give a folder with --data"
        ) from None
    yield from rows
