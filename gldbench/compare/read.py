"""Reads one side of a comparison: the stored rows of one checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gldbench.schema import Task
from gldbench.store import Store
from gldfusion.errors import InputError, did_you_mean


@dataclass(frozen=True)
class ItemScores:
    """The scored items of one task under one prompt variant."""

    values: dict[str, float]
    """item id -> score"""
    clusters: dict[str, str]
    """item id -> cluster"""
    environments: set[str]
    grader_versions: set[str]
    settings: set[str]
    """how the responses were generated: texts of `Row.settings`"""


@dataclass(frozen=True)
class TaskRows:
    """The headline rows of one checkpoint on one task, of the newest version of the task that it was asked."""

    where: str
    """checkpoint and task, for messages"""
    version: int
    rows: pd.DataFrame

    @property
    def variants(self) -> list[str]:
        """Names of the prompt variants in the rows."""
        return sorted(set(self.rows["variant"]))

    def scores(self, variant: str) -> ItemScores:
        """Returns the scores under one variant.

        Raises:
            InputError: an item has two scores.
        """
        own = _where(self.rows, (self.rows["variant"] == variant) & self.rows["value"].notna())
        items = list(own["item"])
        doubled = next((item for item, count in Counter(items).items() if count > 1), None)
        if doubled is not None:
            raise InputError(f"{self.where}: item {doubled} has two scores\nevaluate again into a new folder")
        return ItemScores(
            values=dict(zip(items, map(float, own["value"]), strict=True)),
            clusters=dict(zip(items, own["cluster"], strict=True)),
            environments=set(own["env_id"]),
            grader_versions=set(own["grader_version"]),
            settings=set(own["settings"]),
        )


@dataclass(frozen=True)
class Side:
    """A checkpoint in an output folder of `gldbench eval`."""

    folder: Path
    subject: str
    rows: pd.DataFrame

    @property
    def name(self) -> str:
        """FOLDER:CHECKPOINT, which `read_side` accepts."""
        return f"{self.folder}:{self.subject}"

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks in the rows, in their order."""
        return list(dict.fromkeys(self.rows["task"]))

    def rows_of(self, task: Task) -> TaskRows:
        """Returns the rows of the task's headline.

        Raises:
            InputError: there are none, because the headline of the task has changed since.
        """
        own = _where(self.rows, self.rows["task"] == task.name)
        newest = max(own["task_version"])
        headline = task.headline
        chosen = _where(
            own,
            (own["task_version"] == newest)
            & (own["grader"] == headline.grader)
            & (own["filter"] == headline.filter)
            & (own["metric"] == headline.metric),
        )
        if chosen.empty:
            raise InputError(
                f"{self.name}: task {task.name} has no rows of its headline "
                f"{headline.grader}/{headline.filter}/{headline.metric} (version {newest})\n"
                "run its `gldbench eval` again: it grades the stored responses again and generates nothing twice"
            )
        return TaskRows(f"{self.name}, task {task.name}", newest, chosen)


def read_side(text: str) -> Side:
    """Reads the rows of the checkpoint that `text` names.

    Args:
        text: FOLDER, or FOLDER:CHECKPOINT if the folder holds several checkpoints. CHECKPOINT may leave out the hash.

    Raises:
        InputError: there is no such folder or checkpoint, the folder has no rows, or it holds several checkpoints and
            none is named.
    """
    folder, subject = Path(text), ""
    if not folder.is_dir():
        before, _, subject = text.rpartition(":")
        folder = Path(before)
        if not before or not folder.is_dir():
            raise InputError(
                f"no folder {before or text}\nexpected the --output folder of `gldbench eval`, or FOLDER:CHECKPOINT"
            )
    rows = Store(folder).frame()
    rows = _where(rows, rows["suite"] != "training")  # the folder of a `gldbench run` also holds training logs
    everyone = known = list(dict.fromkeys(rows["subject"]))
    if not known:
        raise InputError(f"{folder} holds no rows\nexpected the --output folder of `gldbench eval`")
    if not subject and len(known) > 1:
        names = listed(f"{folder}:{name}" for name in known)
        raise InputError(f"{folder} holds {len(known)} checkpoints\nname one of{names}")
    if subject:
        known = [name for name in known if subject in (name, name.rpartition("@")[0])]
        if len(known) != 1:
            what = "no" if not known else f"{len(known)}"
            raise InputError(
                f"{folder} holds {what} checkpoint {subject}{did_you_mean(subject, everyone)}\n"
                f"it holds{listed(everyone)}"
            )
    return Side(folder, known[0], _where(rows, rows["subject"] == known[0]))


def listed(names: Iterable[str]) -> str:
    """Names for the end of a message, one in each line."""
    return "".join(f"\n  {name}" for name in names)


def _where(frame: pd.DataFrame, mask: Any) -> pd.DataFrame:
    """Returns the rows for which `mask` is true; pandas' annotations do not say that they are a frame."""
    return pd.DataFrame(frame[mask])
