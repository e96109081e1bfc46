"""Feeds the cases of every benchmark to every grader that applies, and holds the scores against what they must be."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from gldbench.grade import GRADERS
from gldbench.grade.grader import Grader
from gldbench.grade.rows import bare_response
from gldbench.jobs import Report
from gldbench.schema import Item, Task
from gldbench.selftest.cases import GUESSES, KINDS, RIGHT, Case, Kind, spread
from gldbench.selftest.exceptions import KNOWN, why_upstream
from gldbench.selftest.makers import MAKERS
from gldbench.tasks import load_items, load_task

OURS = "ours"
ONE_PER_ITEM = frozenset({"evalplus"})
"""graders that take one solution of each problem at a time"""
SHOWN = 160
"""characters of an output that an exception quotes"""


@dataclasses.dataclass(frozen=True)
class Failure:
    """A case whose score is not what it must be."""

    item: str
    output: str
    """its beginning"""
    score: float
    expected: str
    why: str
    """the upstream bug, or why our grader is right to differ; "" where nobody has said"""


@dataclasses.dataclass(frozen=True)
class SelftestRow:
    """The cases of one kind under one grader."""

    task: str
    grader: str
    filter: str
    metric: str
    kind: Kind
    n: int
    score: float | None
    """mean; None where the cases could not be graded"""
    required: str
    ok: bool
    exceptions: tuple[Failure, ...] = ()
    skipped: str = ""
    """why the cases could not be graded, and the fix"""


@dataclasses.dataclass(frozen=True)
class Selftest:
    """All rows; `passed` looks at our own graders only."""

    rows: tuple[SelftestRow, ...]

    @property
    def passed(self) -> bool:
        """No row of our graders fails; a skipped row does not."""
        return all(row.ok for row in self.rows if row.grader == OURS)


def selftest_graders(
    names: Sequence[str], data: Path | Literal["hub"], items: int | None = None, progress: Report | None = None
) -> Selftest:
    """Runs the self-test.

    Args:
        names: tasks, as `load_task` takes them.
        data: folder with the benchmarks' files, or "hub".
        items: real items of each benchmark that cases are made from; by default what its `Maker` says.
        progress: told which tasks there are, and each that is done.

    Raises:
        InputError: unknown task, or data that is not what the task was defined on.
    """
    rows: list[SelftestRow] = []
    report = progress or (lambda name, done, total: None)
    for name in names:
        report(name, 0, 1)
    for name in names:
        task = load_task(name)
        maker = MAKERS[task.scorer]
        made_for = [item for item in load_items(task, data) if maker.keeps(item)]
        cases = maker.cases(task, spread(made_for, items or maker.items))
        for grader in GRADERS.values():
            if grader.applies(task):
                rows += _rows(task, grader, cases, maker.needs())
        report(name, 1, 1)
    return Selftest(tuple(rows))


def _rows(task: Task, grader: Grader, cases: Sequence[Case], missing: str) -> list[SelftestRow]:
    """A row per kind."""
    filter_name, metric = grader.headline(task)
    scores = _scores(task, grader, cases) if not missing else []
    rows = []
    for kind in KINDS:
        own = [row for row, case in enumerate(cases) if case.kind == kind]
        if not own:
            continue
        labels = (task.name, grader.name, filter_name, metric, kind, len(own))
        if missing:
            rows.append(SelftestRow(*labels, None, _required(task, kind), True, skipped=missing))
            continue
        mean = sum(scores[row] for row in own) / len(own)
        failed = _failed(task, grader, kind, [(cases[row], scores[row]) for row in own], mean)
        ok = all((grader.name, task.benchmark, f.item, kind) in KNOWN for f in failed)
        rows.append(SelftestRow(*labels, mean, _required(task, kind), ok, failed))
    return rows


def _required(task: Task, kind: Kind) -> str:
    if kind in GUESSES:
        return f"<= {task.chance:g}"
    return "= 1" if kind in RIGHT else "= 0"


def _failed(
    task: Task, grader: Grader, kind: Kind, cases: Sequence[tuple[Case, float]], mean: float
) -> tuple[Failure, ...]:
    """The cases that keep a kind from what is required: those that score, where the mean is above chance."""
    if kind in GUESSES:
        wrong = [(case, score) for case, score in cases if score > 0] if mean > task.chance + 1e-12 else []
    else:
        wrong = [(case, score) for case, score in cases if score != float(kind in RIGHT)]
    return tuple(
        Failure(
            case.item.item_id,
            case.output[:SHOWN],
            score,
            _required(task, kind),
            KNOWN.get((grader.name, task.benchmark, case.item.item_id, kind)) or why_upstream(grader.name, task),
        )
        for case, score in wrong
    )


def _scores(task: Task, grader: Grader, cases: Sequence[Case]) -> list[float]:
    """A case's score under the grader's headline."""
    rounds: dict[int, list[int]] = {}
    before: Counter[str] = Counter()
    for row, case in enumerate(cases):
        rounds.setdefault(before[case.item.item_id] if grader.name in ONE_PER_ITEM else 0, []).append(row)
        before[case.item.item_id] += 1
    scores = [0.0] * len(cases)
    for rows in rounds.values():
        for row, score in zip(rows, _graded(task, grader, [cases[row] for row in rows]), strict=True):
            scores[row] = score
    return scores


def _graded(task: Task, grader: Grader, cases: Sequence[Case]) -> list[float]:
    """One call of the grader: every case is an item of its own."""
    items = [dataclasses.replace(case.item, item_id=_name(case.item, row)) for row, case in enumerate(cases)]
    responses = [bare_response(item, case.output) for item, case in zip(items, cases, strict=True)]
    headline = grader.headline(task)
    found: dict[str, list[float]] = {item.item_id: [] for item in items}
    for grade in grader.grade(task, items, responses):
        if (grade.filter, grade.metric) == headline:
            found[grade.item_id].append(grade.value)
    return [sum(values) / len(values) for values in found.values()]


def _name(item: Item, row: int) -> str:
    return f"{item.item_id}~{row}"


def as_json(result: Selftest) -> dict[str, Any]:
    """{"passed", "rows": [{"task", "grader", "kind", "n", "score", "required", "ok", "exceptions", ...}]}."""
    return {"passed": result.passed, "rows": [dataclasses.asdict(row) for row in result.rows]}
