"""Reads our own format: JSON lines `{"item_id": ..., "output": ...}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gldbench.grade.judges.loglikelihood import likelihoods
from gldbench.schema import Item, Task
from gldfusion.errors import InputError, did_you_mean
from gldfusion.reading import parse_json, read_bytes, shown

EXPECTED = 'expected lines {"item_id": ..., "output": ...}'
KEYS = ("item_id", "output")


def read_outputs(path: Path, task: Task, items: Sequence[Item]) -> dict[str, tuple[str, ...]]:
    """Reads a file of responses to some of `items`; returns item id -> its samples, mostly one.

    Raises:
        InputError: a line is not a response to an item of the task, or an item has two lines. The message names the
            line.
    """
    known = {item.item_id: item for item in items}
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    for number, line in enumerate(_content(path).split(b"\n"), start=1):  # splitlines would split strings at \u2028
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        item_id, outputs = _read_line(line, where)
        if item_id not in known:
            raise InputError(
                f'{where}: task {task.name} has no item "{item_id:.60}"{did_you_mean(item_id, known)}\n'
                f"the ids of its {len(items)} items are {', '.join(item.item_id for item in items[:3])}, ..."
            )
        if item_id in found:
            raise InputError(
                f'{where}: line {found[item_id][0]} already has a response to item "{item_id}"\n'
                'give one line per item; {"output": ["...", "..."]} holds several samples'
            )
        choices = len(known[item_id].choices)
        if task.kind == "loglikelihood" and any(likelihoods(output, choices) is None for output in outputs):
            raise InputError(no_likelihoods(task, where))
        found[item_id] = number, outputs
    if not found:
        raise InputError(
            f'{path} holds no responses\nexpected lines like {{"item_id": "{items[0].item_id}", "output": "..."}}'
        )
    return {item_id: outputs for item_id, (_, outputs) in found.items()}


def no_likelihoods(task: Task, where: str) -> str:
    """The message for a text where log-likelihoods are expected."""
    return (
        f"{where}: task {task.name} scores the log-likelihoods of the options, not a text\n"
        'expected as output the JSON text {"loglikelihoods": [...]} with one number for each option; '
        f"texts are scored by the task {task.name.partition('_ll')[0]}"
    )


def _content(path: Path) -> bytes:
    return read_bytes(path, "file of responses", EXPECTED).removeprefix(b"\xef\xbb\xbf")


def _read_line(line: bytes, where: str) -> tuple[str, tuple[str, ...]]:
    """(item id, samples) of one line."""
    record: Any = parse_json(line, where, EXPECTED)
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected an object with item_id and output, got {shown(record, 40)}")
    _require_keys(record, where)
    item_id, output = record["item_id"], record["output"]
    if not isinstance(item_id, str | int) or isinstance(item_id, bool):
        raise InputError(f"{where}: item_id must be a text or a whole number, got {shown(item_id, 60)}")
    samples: list[Any] = output if isinstance(output, list) and output else [output]
    for sample in samples:
        if sample is not None and not isinstance(sample, str):
            raise InputError(
                f'{where}: item "{item_id!s:.60}": output must be a text, null or a list of them, '
                f"got {shown(sample, 60)}"
            )
    # JSON may hold half of a surrogate pair, which no text can hold
    return str(item_id), tuple((sample or "").encode("utf-8", "replace").decode() for sample in samples)


def _require_keys(record: Mapping[str, Any], where: str) -> None:
    for key in KEYS:
        if key not in record:
            item = f' (item "{record["item_id"]!s:.60}")' if "item_id" in record else ""
            near = next((name for name in record if did_you_mean(name, [key])), None)
            hint = f' (is "{near}" meant?)' if near else ""
            raise InputError(f'{where}{item} has no key "{key}"{hint}\nexpected the keys {", ".join(KEYS)}')
