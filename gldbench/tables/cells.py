"""Puts the published values of a table beside the measured ones; computes from stored results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gldbench.compare.across import ACROSS
from gldbench.compare.comparison import compare
from gldbench.schema import Estimate
from gldbench.stats import macro_mean
from gldbench.tables.definition import Difference, Table, TableClaim
from gldbench.tables.measure import RECORD
from gldfusion.errors import InputError
from gldfusion.reading import read_object

ROUNDING = 0.005
"""published values have two decimals"""


@dataclass(frozen=True)
class Cell:
    """One row of one model. Values and intervals are in points."""

    published: float | None
    measured: Estimate | None = None
    n_task: int = 0
    """number of items of the whole task"""
    truncated: int = 0
    """number of answers that reached the token limit"""
    no_answer: int = 0
    strict: float | None = None
    """score if only marked answers count"""
    lenient: float | None = None
    """score if an answer that any rule finds counts"""

    @property
    def difference(self) -> Estimate | None:
        """Measured minus published, with the interval of the measured value."""
        if self.measured is None or self.published is None:
            return None
        return _shifted(self.measured, self.published)

    @property
    def inside(self) -> bool | None:
        """Whether the published value lies in the interval of the measured one."""
        if self.measured is None or self.published is None:
            return None
        return self.measured.low - ROUNDING <= self.published <= self.measured.high + ROUNDING


@dataclass(frozen=True)
class Column:
    """One model."""

    model: str
    title: str
    cells: tuple[Cell, ...]
    """in the order of the rows"""
    stated: float | None
    """the average that the paper prints"""
    recomputed: float | None
    """the mean of the published values; None if one is missing"""
    average: Cell
    """the recomputed average beside the mean of the measured rows"""
    checkpoint: str = ""
    """empty: not measured"""
    hub: str = ""
    commit: str = ""
    substitute: bool = False
    settings: Mapping[str, Any] | None = None
    note: str = ""

    @property
    def measured(self) -> int:
        """Number of rows that are measured."""
        return sum(cell.measured is not None for cell in self.cells)


@dataclass(frozen=True)
class Delta:
    """A difference of two models, row by row and on average. All values are in points."""

    title: str
    of: str
    minus: str
    published: tuple[float | None, ...]
    measured: tuple[Estimate | None, ...]
    """paired by items"""
    average_published: float | None
    average_measured: Estimate | None


@dataclass(frozen=True)
class ClaimCheck:
    """A number in the text of the paper, and the differences in the table that have this value."""

    claim: TableClaim
    named: str
    """title of the difference that the text names"""
    recomputed: float | None
    """that difference in the published values"""
    equals: tuple[str, ...]
    """titles of the differences that have the claimed value"""

    @property
    def holds(self) -> bool:
        """Whether the claimed value is the difference that the text names."""
        return self.named in self.equals


@dataclass(frozen=True)
class TableResult:
    """Everything that the report of a table shows."""

    table: Table
    columns: tuple[Column, ...]
    deltas: tuple[Delta, ...]
    claims: tuple[ClaimCheck, ...]
    odd: tuple[str, ...]
    """published values that no number of right answers gives"""


def collect(table: Table, folder: Path) -> TableResult:
    """Reads what is measured so far. A model without results has empty cells.

    Args:
        table: the table.
        folder: folder of a run; it need not exist.

    Raises:
        InputError: a results file is damaged.
    """
    columns = tuple(_column(table, name, folder / name) for name in table.models)
    deltas = tuple(_delta(table, one, columns, folder) for one in table.differences.values())
    claims = tuple(_claim(table, claim, deltas) for claim in table.claims)
    return TableResult(table, columns, deltas, claims, tuple(_odd(table)))


def _column(table: Table, name: str, folder: Path) -> Column:
    model = table.models[name]
    record, scores = _results(folder)
    cells = tuple(_cell(row.published.get(name), scores.get(row.task)) for row in table.rows.values())
    published = [cell.published for cell in cells if cell.published is not None]
    recomputed = sum(published) / len(published) if len(published) == len(cells) else None
    own = [cell for cell in cells if cell.measured is not None and cell.published is not None]
    average = Cell(recomputed)
    if own:
        average = Cell(
            published=sum(cell.published or 0.0 for cell in own) / len(own),
            measured=macro_mean([cell.measured for cell in own if cell.measured is not None]),
        )
    return Column(
        model=name,
        title=model.title,
        cells=cells,
        stated=table.averages.get(name),
        recomputed=recomputed,
        average=average,
        checkpoint=record.get("checkpoint", ""),
        hub=record.get("hub", ""),
        commit=record.get("commit", ""),
        substitute=bool(record.get("substitute", False)),
        settings=next((score["settings"] for score in scores.values()), None),
        note=model.note,
    )


def _results(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was evaluated, and task -> its score in evaluation.json. Both are empty if nothing was measured."""
    paths = folder / RECORD, folder / "evaluation.json"
    if not all(path.is_file() for path in paths):
        return {}, {}
    mend = "run the table again: it generates nothing twice"
    record, evaluation = (read_object(path, "result of a model", mend) for path in paths)
    try:
        return record, {score["task"]: score for score in evaluation["scores"]}
    except (KeyError, TypeError):
        raise InputError(f"{paths[1]} is damaged: it has no scores of tasks\n{mend}") from None


def _cell(published: float | None, score: Mapping[str, Any] | None) -> Cell:
    if score is None:
        return Cell(published)
    head = score["headline"]
    if head["score"] is None:  # no response could be graded
        return Cell(published)
    return Cell(
        published=published,
        measured=Estimate(
            value=100 * head["score"],
            low=100 * head["low"],
            high=100 * head["high"],
            n=score["n"] - head.get("ungraded", 0),  # absent in files of older versions
            method=head["interval"],
        ),
        n_task=score["n_task"],
        truncated=score["truncated_outputs"],
        no_answer=score["no_answer"],
        strict=None if head["strict"] is None else 100 * head["strict"],
        lenient=None if head["lenient"] is None else 100 * head["lenient"],
    )


def _shifted(estimate: Estimate, by: float) -> Estimate:
    return Estimate(
        value=estimate.value - by,
        low=estimate.low - by,
        high=estimate.high - by,
        n=estimate.n,
        method=estimate.method,
    )


def _points(estimate: Estimate) -> Estimate:
    return Estimate(
        value=100 * estimate.value,
        low=100 * estimate.low,
        high=100 * estimate.high,
        n=estimate.n,
        method=estimate.method,
    )


def _delta(table: Table, difference: Difference, columns: Sequence[Column], folder: Path) -> Delta:
    of, minus = (next(c for c in columns if c.model == name) for name in (difference.of, difference.minus))
    published = tuple(
        None if a.published is None or b.published is None else a.published - b.published
        for a, b in zip(of.cells, minus.cells, strict=True)
    )
    known = [value for value in published if value is not None]
    measured = _paired(table, of, minus, folder)
    found = [value for value in measured if value is not None]
    return Delta(
        title=difference.title,
        of=difference.of,
        minus=difference.minus,
        published=published,
        measured=measured,
        average_published=sum(known) / len(known) if len(known) == len(published) else None,
        average_measured=macro_mean(found) if len(found) == len(published) else None,
    )


def _paired(table: Table, of: Column, minus: Column, folder: Path) -> tuple[Estimate | None, ...]:
    """The paired difference of each row that both models have; chat templates differ between models."""
    shared = {
        row.task
        for row, a, b in zip(table.rows.values(), of.cells, minus.cells, strict=True)
        if a.measured is not None and b.measured is not None
    }
    if not shared:
        return (None,) * len(table.rows)
    sides = [f"{folder / column.model}:{column.checkpoint}" for column in (minus, of)]
    found = compare(*sides, tasks=sorted(shared), across=list(ACROSS), across_environments=True)
    differences = {item.task.name: _points(item.pair.difference) for item in found.tasks}
    return tuple(differences.get(row.task) for row in table.rows.values())


def _claim(table: Table, claim: TableClaim, deltas: Sequence[Delta]) -> ClaimCheck:
    place = list(table.rows).index(claim.row)
    values = {delta.title: delta.published[place] for delta in deltas}
    named = table.differences[claim.difference].title
    equals = tuple(t for t, value in values.items() if value is not None and abs(value - claim.value) <= 2 * ROUNDING)
    return ClaimCheck(claim, named, values[named], equals)


def _odd(table: Table) -> list[str]:
    """Published values that are no whole number of right answers, rounded to two decimals."""
    found = []
    for title, row in table.rows.items():
        for name, value in row.published.items():
            right = round(value * row.items / 100)
            nearest = 100 * right / row.items
            if abs(nearest - value) > ROUNDING + 1e-9:
                found.append(
                    f"{title}, {table.models[name].title}: {value:g} is no number of right answers out of {row.items}; "
                    f"{right} right answers would give {nearest:.2f}"
                )
    return found
