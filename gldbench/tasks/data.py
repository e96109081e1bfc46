"""Reads the data files of benchmarks, from a local folder or a hub, and checks them against their checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gldbench.schema import Dataset, Exemplars, HubSource, Task
from gldfusion.errors import InputError
from gldfusion.reading import parse_json, read_bytes, read_packed

Record = dict[str, Any]
"""one row of a data file"""

AGAIN = "fetch the file again"

_SEPARATORS = ((", ", ": "), (",", ":"))
"""the two usual ways to write JSON"""


@dataclass(frozen=True)
class Records:
    """The rows of one file, in file order."""

    rows: list[Record]
    changed: bool
    """the file has another checksum than task.yaml says, and the caller allowed that"""


def read_records(
    task: Task, file: str, expected: Dataset | Exemplars, data: Path | Literal["hub"], allow_changed: bool = False
) -> Records:
    """Reads the rows of `file`. The checksum of the whole file is checked before any row is parsed.

    Args:
        task: the benchmark, for messages; its subtasks are needed if the hub has a file for each.
        file: path of a file of JSON lines below the folder `data`. If it is absent, `<file>.gz` is read.
        expected: number of rows, checksum of the uncompressed file, and where the hub has it.
        data: the folder, or "hub".
        allow_changed: accept a file with another checksum; `Records.changed` then says so.

    Raises:
        InputError: there is no such file, its checksum differs, or a line is not a JSON object.
    """
    where, content = _read(data, file) if data != "hub" else (f"the hub's {file}", _hub_content(task, file, expected))
    # splitlines would also split strings at \u2028
    lines = [line for line in content.split(b"\n") if line]
    changed = (len(lines), _checksum(content)) != (expected.count, expected.sha256)
    if changed and not allow_changed:
        raise InputError(
            f"task {task.benchmark}: {where} is not the data that the task was defined on: expected {expected.count} "
            f"rows with sha256 {expected.sha256[:12]}, got {len(lines)} rows with {_checksum(content)[:12]}\n"
            f"fetch it from {task.dataset.source} at {task.dataset.revision},\n"
            "or accept it with --allow-changed-data, which marks every row of the results"
        )
    return Records([_parse(task, where, number, line) for number, line in enumerate(lines, start=1)], changed)


def _parse(task: Task, where: str, number: int, line: bytes) -> Record:
    record = parse_json(line, f"task {task.benchmark}: {where}, line {number}", AGAIN)
    if not isinstance(record, dict):
        raise InputError(f"task {task.benchmark}: {where}, line {number}: expected an object, got {line[:40]!r}")
    return record


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(data: Path, file: str) -> tuple[str, bytes]:
    path = data / file
    if path.is_file():
        return str(path), read_bytes(path, "file of benchmark data", AGAIN)
    packed = path.with_name(path.name + ".gz")
    if not packed.is_file():
        raise InputError(
            f"benchmark data not found: expected the file {path} (or .gz)\n"
            "name the folder that holds one folder per benchmark with --data, or load the file with --data hub"
        )
    return str(packed), read_packed(packed, "file of benchmark data", AGAIN)


def _hub_content(task: Task, file: str, expected: Dataset | Exemplars) -> bytes:
    """The content that the file would have: the bytes of the hub's file, or the hub's rows as JSON lines.

    There are several usual ways to write rows as JSON lines. The one with the expected checksum is taken.
    """
    hub = expected.hub
    if hub is None:
        raise InputError(f"task {task.benchmark}: no hub holds {file}\nname a folder that holds it with --data")
    if hub.url:
        content = _download(task, hub.url)
        if not content.lstrip().startswith(b"["):
            return content
        records = parse_json(content, f"the hub's {file}", "report this to the owner of the data set")
    else:
        records = _hub_records(task, hub)
    written = [_as_lines(records, ascii_only, compact) for ascii_only in (True, False) for compact in _SEPARATORS]
    return next((text for text in written if _checksum(text) == expected.sha256), written[0])


def _as_lines(records: Sequence[Record], ascii_only: bool, separators: tuple[str, str]) -> bytes:
    """Writes rows as JSON lines."""
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
    """Downloads and unpacks the file at `url`. `datasets` caches it and obeys HF_HUB_OFFLINE."""
    from datasets import DownloadManager
    from datasets.exceptions import DatasetsError

    try:
        path = Path(str(DownloadManager().download(url)))
    except (OSError, ValueError, DatasetsError) as error:
        raise _out_of_reach(task, url, error) from None
    content = read_bytes(path, "downloaded file", AGAIN)
    return read_packed(path, "downloaded file", AGAIN) if content[:2] == b"\x1f\x8b" else content


def _load(task: Task, hub: HubSource, subtask: str | None) -> Iterator[Record]:
    """Loads the rows of one configuration."""
    from datasets import load_dataset  # here: it takes a second, and only `--data hub` needs it
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
        f"task {task.benchmark}: the hub cannot be reached for {where} ({' '.join(str(error).split())[:160]})\n"
        "check the network and HF_HUB_OFFLINE, or name a folder that holds the file with --data"
    )


def _arc_row(row: Record) -> Record:
    """Turns a row of allenai/ai2_arc into the layout of AI2's own files."""
    options = [{"text": t, "label": n} for t, n in zip(row["choices"]["text"], row["choices"]["label"], strict=True)]
    return {"id": row["id"], "question": {"stem": row["question"], "choices": options}, "answerKey": row["answerKey"]}


def _mmlu_row(row: Record) -> Record:
    """Turns a row of cais/mmlu into one with a field for each option and the answer as a letter."""
    options = dict(zip("ABCD", row["choices"], strict=True))
    return {"question": row["question"], **options, "answer": "ABCD"[row["answer"]]}


HUB_ROWS: dict[str, Callable[[Record], Record]] = {"arc": _arc_row, "mmlu": _mmlu_row}
"""`hub.rows` in task.yaml -> function that turns a row of the hub into a row of our file"""
