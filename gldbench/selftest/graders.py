"""Gives the cases of every benchmark to every grader that applies, and compares the scores with the required ones."""

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
"""graders that can grade only one response to an item in one call"""
SHOWN = 160
"""length in characters to which the output of a failed case is cut"""


@dataclasses.dataclass(frozen=True)
class Failure:
    """A case that does not have the required score."""

    item: str
    output: str
    """the beginning of the output"""
    score: float | None
    """None where another harness failed and gave no grade"""
    expected: str
    why: str
    """the upstream bug, or why our grader is right to differ; "" where no reason is known"""


@dataclasses.dataclass(frozen=True)
class SelftestRow:
    """The scores of the cases of one kind under one grader."""

    task: str
    grader: str
    filter: str
    metric: str
    kind: Kind
    n: int
    score: float | None
    """mean in [0, 1]; None where the cases could not be graded"""
    required: str
    """what is required: "= 1" or "= 0" of every case, or "<= chance" of the mean"""
    ok: bool
    exceptions: tuple[Failure, ...] = ()
    skipped: str = ""
    """why the cases could not be graded, and how to fix that; "" where they were graded"""


@dataclasses.dataclass(frozen=True)
class Selftest:
    """All rows of the self-test."""

    rows: tuple[SelftestRow, ...]

    @property
    def passed(self) -> bool:
        """Whether no row of our own grader fails. A skipped row does not fail."""
        return all(row.ok for row in self.rows if row.grader == OURS)


def selftest_graders(
    names: Sequence[str],
    data: Path | Literal["hub"],
    items: int | None = None,
    progress: Report | None = None,
    graders: Sequence[str] = (),
) -> Selftest:
    """Runs the self-test.

    Args:
        names: names of tasks, as in `load_task`.
        data: folder with the benchmarks' files, or "hub".
        items: number of real items of each benchmark from which cases are made. Default: what its `Maker` says.
        progress: called with each task at the start and when it is done.
        graders: keys of GRADERS; empty: all.

    Raises:
        InputError: an unknown task, or a data file that is not the one that the task was defined on.
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
        for grader_name, grader in GRADERS.items():
            if (not graders or grader_name in graders) and grader.applies(task):
                rows += _rows(task, grader_name, grader, cases, maker.needs())
        report(name, 1, 1)
    return Selftest(tuple(rows))


def _rows(task: Task, name: str, grader: Grader, cases: Sequence[Case], missing: str) -> list[SelftestRow]:
    """One row per kind of case."""
    filter_name, metric = grader.headline(task)
    scores = _scores(task, name, grader, cases) if not missing else []
    rows = []
    for kind in KINDS:
        own = [row for row, case in enumerate(cases) if case.kind == kind]
        if not own:
            continue
        mean, failed = None, ()
        if not missing:
            known = [score for row in own if (score := scores[row]) is not None]
            mean = sum(known) / len(known) if known else None
            failed = _failed(task, name, kind, [(cases[row], scores[row]) for row in own], mean)
        rows.append(
            SelftestRow(
                task=task.name,
                grader=name,
                filter=filter_name,
                metric=metric,
                kind=kind,
                n=len(own),
                score=mean,
                required=_required(task, kind),
                ok=all((name, task.benchmark, failure.item, kind) in KNOWN for failure in failed),
                exceptions=failed,
                skipped=missing,
            )
        )
    return rows


def _required(task: Task, kind: Kind) -> str:
    if kind in GUESSES:
        return f"<= {task.chance:g}"
    return "= 1" if kind in RIGHT else "= 0"


def _failed(
    task: Task, grader_name: str, kind: Kind, cases: Sequence[tuple[Case, float | None]], mean: float | None
) -> tuple[Failure, ...]:
    """The cases because of which a kind fails. Among guesses: all that score, where the mean is above chance."""
    if kind in GUESSES:
        lucky = mean is not None and mean > task.chance + 1e-12
        wrong = [(case, score) for case, score in cases if score is None or (lucky and score > 0)]
    else:
        wrong = [(case, score) for case, score in cases if score != float(kind in RIGHT)]
    return tuple(
        Failure(
            item=case.item.item_id,
            output=case.output[:SHOWN],
            score=score,
            expected=_required(task, kind),
            why=KNOWN.get((grader_name, task.benchmark, case.item.item_id, kind)) or why_upstream(grader_name, task),
        )
        for case, score in wrong
    )


def _scores(task: Task, grader_name: str, grader: Grader, cases: Sequence[Case]) -> list[float | None]:
    """The score of each case under the grader's headline. None where another harness gave no grade."""
    rounds: dict[int, list[int]] = {}
    before: Counter[str] = Counter()
    for row, case in enumerate(cases):
        rounds.setdefault(before[case.item.item_id] if grader_name in ONE_PER_ITEM else 0, []).append(row)
        before[case.item.item_id] += 1
    scores: list[float | None] = [None] * len(cases)
    for rows in rounds.values():
        for row, score in zip(rows, _graded(task, grader, [cases[row] for row in rows]), strict=True):
            scores[row] = score
    return scores


def _graded(task: Task, grader: Grader, cases: Sequence[Case]) -> list[float | None]:
    """The scores of cases that are graded in one call. Each case becomes an item of its own."""
    items = [dataclasses.replace(case.item, item_id=_name(case.item, row)) for row, case in enumerate(cases)]
    responses = [bare_response(item, case.output) for item, case in zip(items, cases, strict=True)]
    headline = grader.headline(task)
    found: dict[str, list[float | None]] = {item.item_id: [] for item in items}
    for grade in grader.grade(task, items, responses):
        if (grade.filter, grade.metric) == headline:
            found[grade.item_id].append(grade.value)
    return [_mean(values) for values in found.values()]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _name(item: Item, row: int) -> str:
    return f"{item.item_id}~{row}"


def as_json(result: Selftest) -> dict[str, Any]:
    """The result for JSON: {"passed", "rows": [{"task", "grader", "kind", "n", "score", "required", "ok", ...}]}."""
    return {"passed": result.passed, "rows": [dataclasses.asdict(row) for row in result.rows]}
