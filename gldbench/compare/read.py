"""One side of a comparison: the stored rows of one checkpoint."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gldbench.schema import Task
from gldbench.store import Store
from gldfusion.errors import InputError, did_you_mean


@dataclass(frozen=True)
class ItemScores:
    """The items of one task and prompt variant that have a score."""

    values: dict[str, float]
    """by item id"""
    clusters: dict[str, str]
    """by item id"""
    environments: set[str]


@dataclass(frozen=True)
class TaskRows:
    """A checkpoint's headline rows of one task, of the newest version that was asked."""

    where: str
    """for messages: checkpoint and task"""
    version: int
    rows: pd.DataFrame

    @property
    def variants(self) -> list[str]:
        """The prompt variants that were asked."""
        return sorted(set(self.rows["variant"]))

    def scores(self, variant: str) -> ItemScores:
        """The scores of one variant.

        Raises InputError where an item was graded twice.
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
        )


@dataclass(frozen=True)
class Side:
    """A checkpoint in an output folder of `gldbench eval`."""

    folder: Path
    subject: str
    rows: pd.DataFrame

    @property
    def name(self) -> str:
        """FOLDER:CHECKPOINT, as `read_side` takes it."""
        return f"{self.folder}:{self.subject}"

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks it was asked, in the order of its rows."""
        return list(dict.fromkeys(self.rows["task"]))

    def rows_of(self, task: Task) -> TaskRows:
        """The rows of the task's headline."""
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
                f"{self.name}: no rows of task {task.name} hold its headline "
                f"{headline.grader}/{headline.filter}/{headline.metric} (version {newest})\n"
                "repeat its `gldbench eval`: stored responses are graded again, nothing is generated twice"
            )
        return TaskRows(f"{self.name}, task {task.name}", newest, chosen)


def read_side(text: str) -> Side:
    """The checkpoint that FOLDER or FOLDER:CHECKPOINT means.

    Raises:
        InputError: no such folder, no rows in it, no such checkpoint, or several and none named.
    """
    folder, subject = Path(text), ""
    if not folder.is_dir():
        before, _, subject = text.rpartition(":")
        folder = Path(before)
        if not before or not folder.is_dir():
            raise InputError(
                f"no folder {before or text}\nexpected the --output of `gldbench eval`, or FOLDER:CHECKPOINT"
            )
    rows = Store(folder).frame()
    rows = _where(rows, rows["suite"] != "training")  # the folder may be that of a whole run
    everyone = known = list(dict.fromkeys(rows["subject"]))
    if not known:
        raise InputError(f"{folder} holds no rows\nexpected the --output folder of `gldbench eval`")
    if not subject and len(known) > 1:
        listed = ", ".join(f"{folder}:{name}" for name in known)
        raise InputError(f"{folder} holds {len(known)} checkpoints: say which\none of {listed}")
    if subject:
        known = [name for name in known if subject in (name, name.rpartition("@")[0])]
        if len(known) != 1:
            what = "no" if not known else f"{len(known)}"
            raise InputError(
                f"{folder} holds {what} checkpoint {subject}{did_you_mean(subject, everyone)}\n"
                f"it holds {', '.join(everyone)}"
            )
    return Side(folder, known[0], _where(rows, rows["subject"] == known[0]))


def _where(frame: pd.DataFrame, mask: Any) -> pd.DataFrame:
    """The rows where `mask` holds; pandas' own annotations do not say that these are a frame."""
    return pd.DataFrame(frame[mask])
