"""Collects what is known about each item: prompt, gold answer, and the responses and grades of one or more sides."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gldbench.compare.read import Side, listed, read_side
from gldbench.items.records import Answer, Items, ItemView, Mark
from gldbench.schema import Item, Response, Row, Task
from gldbench.store import Store
from gldbench.tasks import load_task
from gldfusion.errors import InputError, did_you_mean
from gldfusion.hashes import hash_checkpoint

NO_PROMPT = "(not stored: this response was made by an older version)"
NO_RESPONSE = "(no response is stored under this name)"
SEVERAL = "(several responses to this item are stored, and the folder does not say which one was graded)"


def read_items(names: Sequence[str], task: str = "", grader: str = "") -> Items:
    """Reads the items of output folders of `gldbench eval` or `gldbench run`.

    Args:
        names: FOLDER or FOLDER:CHECKPOINT each, as `gldbench compare` takes them.
        task: only this task; empty: all tasks.
        grader: only the grades of this grader, whose own headline then decides what is right; empty: all graders, and
            the headline of the task decides.

    Raises:
        InputError: a folder, checkpoint, task or grader is not there.
    """
    return collect([read_side(name) for name in names], task, grader)


def read_folder(folder: Path, partial: bool = False) -> Items:
    """Reads the items of all checkpoints of one output folder.

    Args:
        folder: output folder of `gldbench eval` or `gldbench run`.
        partial: show what there is, even if a part is missing.
    """
    rows = Store(folder, partial).frame()
    rows = pd.DataFrame(rows[rows["suite"] != "training"])
    sides = [Side(folder, str(subject), pd.DataFrame(own)) for subject, own in rows.groupby("subject", sort=False)]
    return collect(sides, labels=[side.subject for side in sides], partial=partial)


def collect(
    sides: Sequence[Side], task: str = "", grader: str = "", labels: Sequence[str] = (), partial: bool = False
) -> Items:
    """Collects the items of the given sides; see `read_items`.

    Args:
        sides: what `compare.read.read_side` returned.
        task: only this task, or all subtasks of this benchmark; empty: all tasks.
        grader: only the grades of this grader; empty: all.
        labels: names of the sides to show; empty: FOLDER:CHECKPOINT.
        partial: show what there is, even if a part is missing.
    """
    _require(sides, task, grader)
    stored = {side.folder: _by_item(Store(side.folder, partial).responses()) for side in sides}
    answers: dict[tuple[str, str, str], list[Answer | None]] = {}
    facts: dict[tuple[str, str, str], tuple[str, Response | None]] = {}
    tasks = {name: _task(name) for name in dict.fromkeys(name for side in sides for name in side.tasks)}
    for place, side in enumerate(sides):
        twins = _Twins(side, stored[side.folder])
        for key, rows in _grouped(side, task, stored[side.folder]).items():
            marks = [_mark(row, key[2]) for row in rows if not grader or row["grader"] == grader]
            if not marks:
                continue
            response, note = twins.response(*key)
            headline = _headline(marks, tasks[key[0]], grader)
            output = None if response is None else response.output
            answers.setdefault(key, [None] * len(sides))[place] = Answer(output, note, headline, tuple(marks))
            known = facts[key][1] if key in facts else None
            if known is None or not known.prompt:
                facts[key] = rows[0]["cluster"], response
    items = [_view(key, *facts[key], own) for key, own in answers.items()]
    return Items(tuple(labels or [side.name for side in sides]), tuple(items))


def scored_items(
    names: Sequence[str],
    task: Task,
    items: Sequence[Item],
    outputs: Sequence[Mapping[str, str]],
    rows: Sequence[Sequence[Row]],
) -> Items:
    """Makes the items of `gldbench score`, whose outputs were read from a file: one side for each sample of an item.

    Args:
        names: names of the sides.
        task: the task that was graded.
        items: the graded items.
        outputs: for each side, item id -> output; an item may be absent.
        rows: for each side, the grades.
    """
    known = {item.item_id for item in items}
    sides: list[dict[str, list[Mark]]] = []
    for own_rows in rows:
        own: dict[str, list[Mark]] = defaultdict(list)
        for row in own_rows:
            item_id = _item_id(row.item, known)
            own[item_id].append(_mark(dataclasses.asdict(row), item_id))
        sides.append(own)
    views = []
    for item in items:
        answers = [
            Answer(texts[item.item_id], "", _headline(own[item.item_id], task, ""), tuple(own[item.item_id]))
            if item.item_id in texts
            else None
            for texts, own in zip(outputs, sides, strict=True)
        ]
        views.append(
            ItemView(
                task=task.name,
                variant=item.variant,
                item=item.item_id,
                cluster=item.cluster,
                prompt=item.prompt,
                gold=item.gold,
                answers=tuple(answers),
            )
        )
    return Items(tuple(names), tuple(views))


def _require(sides: Sequence[Side], task: str, grader: str) -> None:
    known = list(dict.fromkeys(name for side in sides for name in side.tasks))
    if task and not any(_belongs(name, task) for name in known):
        raise InputError(
            f'no side has rows of task "{task}"{did_you_mean(task, known)}\nthere are rows of{listed(known)}'
        )
    graders = list(dict.fromkeys(str(name) for side in sides for name in side.rows["grader"]))
    if grader and grader not in graders:
        raise InputError(
            f'no side has grades of "{grader}"{did_you_mean(grader, graders)}\nthere are grades of {", ".join(graders)}'
        )


def _belongs(name: str, wanted: str) -> bool:
    """Whether task `name` is the wanted task or one of its subtasks."""
    return name == wanted or name.partition("/")[0] == wanted


_Stored = Mapping[tuple[str, str], Sequence[Response]]
"""(benchmark, item id) -> stored responses"""


def _by_item(responses: Iterable[Response]) -> _Stored:
    found: dict[tuple[str, str], list[Response]] = defaultdict(list)
    for response in responses:
        found[response.task.partition("/")[0], response.item_id].append(response)
    return found


def _grouped(side: Side, task: str, stored: _Stored) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """(task, variant, item id) -> its rows, of the newest version of the task."""
    rows = [{str(name): value for name, value in row.items()} for row in side.rows.to_dict("records")]
    newest: dict[str, int] = {}
    for row in rows:
        newest[row["task"]] = max(newest.get(row["task"], 0), row["task_version"])
    known: dict[str, set[str]] = defaultdict(set)
    for benchmark, item_id in stored:
        known[benchmark].add(item_id)
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        name = row["task"]
        if row["task_version"] == newest[name] and (not task or _belongs(name, task)):
            groups[name, row["variant"], _item_id(row["item"], known[name.partition("/")[0]])].append(row)
    return groups


def _item_id(item: str, known: Iterable[str]) -> str:
    """The item id of a row. The row of a part is called "ITEM#PART"."""
    whole = item.rpartition("#")[0]
    return whole if item not in known and whole in known else item


def _mark(row: Mapping[str, Any], item_id: str) -> Mark:
    value = row["value"]
    return Mark(
        grader=row["grader"],
        filter=row["filter"],
        metric=row["metric"],
        part=row["item"].removeprefix(item_id).removeprefix("#"),
        value=None if value is None or math.isnan(value) else float(value),
        status=row["status"],
        how=row["how"],
        found=row["found"],
        reason=row["reason"],
    )


def _task(name: str) -> Task | None:
    """The task, or None if it was removed or lies in a folder that was not named."""
    try:
        return load_task(name)
    except InputError:
        return None


def _headline(marks: Sequence[Mark], task: Task | None, grader: str) -> Mark | None:
    """The grade that decides: of the named grader's own headline, or of the task's headline."""
    whole = [mark for mark in marks if not mark.part]
    if task is None:
        return whole[0] if whole else None
    name, wanted = task.headline.grader, (task.headline.filter, task.headline.metric)
    if grader:
        from gldbench.grade import GRADERS  # the graders take a second to import, and a report needs none

        name, wanted = grader, GRADERS[grader].headline(task) if grader in GRADERS else wanted
    return next((mark for mark in whole if (mark.grader, mark.filter, mark.metric) == (name, *wanted)), None)


def _view(
    key: tuple[str, str, str], cluster: str, response: Response | None, answers: Sequence[Answer | None]
) -> ItemView:
    task, variant, item_id = key
    prompt = response.prompt if response else ""
    return ItemView(
        task=task,
        variant=variant,
        item=item_id,
        cluster=cluster,
        prompt=prompt or NO_PROMPT,
        gold=response.gold if response and prompt else NO_PROMPT,
        answers=tuple(answers),
    )


class _Twins:
    """Finds the response of a side to an item.

    A response is stored once for equal weights, under the name that asked first. Its name may therefore be that of
    another checkpoint with the same weights.
    """

    def __init__(self, side: Side, stored: _Stored) -> None:
        self._side, self._stored = side, stored
        self._names: set[str] | None = None

    def response(self, task: str, variant: str, item_id: str) -> tuple[Response | None, str]:
        """Returns the response, or None with a sentence that says why there is none."""
        candidates = self._stored.get((task.partition("/")[0], item_id), ())
        own = [r for r in candidates if r.subject == self._side.subject]
        own = own or [r for r in candidates if r.subject in self._twins()]
        own = [r for r in own if r.variant == variant] or own
        if len({(r.output, r.prompt) for r in own}) > 1:
            return None, SEVERAL
        return (own[-1], "") if own else (None, NO_RESPONSE)

    def _twins(self) -> set[str]:
        """Names of the checkpoints that have the same weights."""
        if self._names is None:
            subjects = {r.subject for own in self._stored.values() for r in own}
            self._names = {name for name in subjects if self._same(name)}
        return self._names

    def _same(self, other: str) -> bool:
        mark, own = other.rpartition("@")[2], self._side.subject.rpartition("@")[2]
        if "@" in other and "@" in self._side.subject:  # `gldbench eval` names a checkpoint FOLDER@HASH
            return mark == own
        folders = [self._side.folder / "checkpoints" / name for name in (other, self._side.subject)]
        return all(folder.is_dir() for folder in folders) and len({_weights(folder) for folder in folders}) == 1


@functools.cache
def _weights(folder: Path) -> str:
    return hash_checkpoint(folder)
