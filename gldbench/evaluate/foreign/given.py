"""Reads a file of responses in any known format: which items it answers, with which outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gldbench.evaluate.foreign import OWN, READERS, format_of
from gldbench.evaluate.foreign.match import match
from gldbench.evaluate.foreign.own import no_likelihoods, read_outputs
from gldbench.grade.judges.loglikelihood import likelihoods
from gldbench.schema import Item, Task
from gldfusion.errors import InputError


@dataclass(frozen=True)
class Given:
    """The responses in a file."""

    samples: list[dict[str, str]]
    """the first response to each item, the second to each that has two, ...: item id -> output"""
    format: str
    unmatched: int
    """number of records that belong to no item"""
    notes: list[str]


def read_given(path: Path, file_format: str, task: Task, items: Sequence[Item], partial: bool) -> Given:
    """Reads a file of responses.

    Args:
        path: the file.
        file_format: "auto", "gldbench" or a key of READERS.
        task: the task.
        items: its items.
        partial: leave out records of another harness that belong to no item.

    Raises:
        InputError: the format is unknown, the file is damaged, or a record belongs to no item.
    """
    name = format_of(path, file_format)
    if name == OWN:
        return Given(_by_sample(read_outputs(path, task, items)), name, 0, [])
    records = READERS[name](path)
    found = match(task, items, records)
    unmatched = len(found.unmatched)
    if not found.outputs or (unmatched and not partial):
        raise InputError(_unmatched(path, name, task, found.unmatched, len(records)))
    by_id = {item.item_id: item for item in items}
    for item_id, samples in found.outputs.items():
        _check_kind(task, by_id[item_id], samples, path)
    notes = []
    if unmatched:
        notes.append(f"{unmatched} of {len(records)} records belong to no item of {task.name} and were left out")
    if found.doubled:
        notes.append(f"{found.doubled} items share their text with another item; they follow the order of the file")
    return Given(_by_sample(found.outputs), name, unmatched, notes)


def _by_sample(outputs: dict[str, tuple[str, ...]]) -> list[dict[str, str]]:
    most = max(map(len, outputs.values()))
    return [{i: own[place] for i, own in outputs.items() if place < len(own)} for place in range(most)]


def _unmatched(path: Path, name: str, task: Task, unmatched: Sequence[str], total: int) -> str:
    if len(unmatched) == total:
        return (
            f"none of the {total} records in {path} ({name}) belongs to an item of {task.name}\n"
            "items are found by their ids or by the text of their questions: is it the right task?"
        )
    return (
        f"{len(unmatched)} of {total} records in {path} ({name}) belong to no item of {task.name}, the first is "
        f"{unmatched[0]}\n"
        "is it the right task, with the same data? --partial grades the records whose item was found"
    )


def _check_kind(task: Task, item: Item, samples: Sequence[str], path: Path) -> None:
    """Refuses texts for a task that scores log-likelihoods, and log-likelihoods for a task that grades texts."""
    where = f'{path}, item "{item.item_id}"'
    if task.kind == "loglikelihood":
        if any(likelihoods(output, len(item.choices)) is None for output in samples):
            raise InputError(no_likelihoods(task, where))
    elif any(output.startswith('{"loglikelihoods": ') for output in samples):
        raise InputError(
            f"{where}: it holds log-likelihoods of options, and {task.name} grades texts\n"
            "tasks that score log-likelihoods end in _ll; see `gldbench tasks list`"
        )
