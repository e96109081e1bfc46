"""Published outputs of real models, graded by the headline grader and compared with their published scores.

The result is a report and no test: a label may be wrong too. The disagreements can be written to a file, for reading
them by hand.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gldbench.jobs import Report
from gldbench.schema import Item, Task
from gldbench.selftest.lines import Judged, item_of, json_lines, judged, score_field, text_field
from gldbench.tasks import load_items, load_task
from gldfusion.errors import InputError
from gldfusion.files import atomic_write

KEYS = ("task", "item_id", "output", "label")
DISAGREE = 0.5
"""a label and a score disagree where they differ by at least this much"""
ALL_FILES = "all files"
_PORTION = 1_000
"""outputs that are graded in one call"""


@dataclass(frozen=True)
class Output:
    """One line of a file: an output, and the score that somebody else gave it."""

    line: int
    item_id: str
    output: str
    label: float | None
    """published or hand-labelled score in [0, 1]; None: there is none"""
    source: str
    """where the output was published; "": the line does not say"""


@dataclass(frozen=True)
class OutputsRow:
    """The scores of the outputs of one task in one file, or in all files."""

    task: str
    file: str
    n: int
    strict: float | None
    """mean score, where only marked answers count; None for IFEval, which has no answer to find"""
    score: float | None
    """mean score of the headline; None where no output could be graded"""
    lenient: float | None
    """mean score, where an answer counts that any of our rules finds; None for IFEval"""
    errors: int
    """outputs with the status "error" or "timeout\""""
    ungraded: int
    """outputs that could not be graded. No mean counts them, and they are no disagreements"""
    labelled: int
    """outputs with a label"""
    label: float | None
    """mean label"""
    score_labelled: float | None
    """mean score of the outputs that have a label"""
    disagreements: int

    @property
    def share(self) -> float | None:
        """Disagreements per labelled output."""
        return self.disagreements / self.labelled if self.labelled else None


def run_outputs(
    files: Sequence[Path],
    data: Path | Literal["hub"],
    *,
    limit: int | None = None,
    seed: int = 0,
    differ: Path | None = None,
    progress: Report | None = None,
) -> list[OutputsRow]:
    """Grades the outputs of files, and compares the scores with the labels.

    Args:
        files: JSON lines {"task", "item_id", "output", "label"}, and "from" where the output was published.
        data: folder of benchmark files, or "hub".
        limit: most outputs of one task in one file, drawn at random; None: all.
        seed: seed of that draw.
        differ: JSON lines with every disagreement are written here; None: none are written.
        progress: called with each task and file.

    Returns:
        One row per task and file, and one row per task for all files where there are several.

    Raises:
        InputError: a file or a line is not as described; the message names it. No file is written then.
    """
    if differ is not None and differ.is_dir():
        raise InputError(f"--differ: {differ} is a folder\ngive the path of a file")
    report = progress or (lambda name, done, total: None)
    read = {path: _drawn(_read(path), limit, seed) for path in dict.fromkeys(files)}
    rows: list[OutputsRow] = []
    differing: list[dict[str, Any]] = []
    for name in dict.fromkeys(name for groups in read.values() for name in groups):
        task = load_task(name)
        known = {item.item_id: item for item in load_items(task, data)}
        pairs: dict[str, list[tuple[Output, Judged]]] = {}
        for path, groups in read.items():
            if name in groups:
                graded = _graded(task, known, path, groups[name], report)
                pairs[str(path)] = [(output, grade) for _, output, grade in graded]
                differing += [_disagreement(task, path, *each) for each in graded if _disagree(*each[1:])]
        rows += [_row(task, file, own) for file, own in pairs.items()]
        if len(pairs) > 1:
            rows.append(_row(task, ALL_FILES, [pair for own in pairs.values() for pair in own]))
    if differ is not None:
        with atomic_write(differ) as out:
            out.writelines(json.dumps(record).encode() + b"\n" for record in differing)
    return rows


def _read(path: Path) -> dict[str, list[Output]]:
    """task -> its outputs, in the order of the file."""
    groups: dict[str, list[Output]] = {}
    for number, where, record in json_lines(path, "file of outputs", KEYS):
        output = Output(
            line=number,
            item_id=text_field(where, record, "item_id"),
            output=text_field(where, record, "output"),
            label=None if record["label"] is None else score_field(where, record, "label"),
            source=text_field(where, record, "from") if "from" in record else "",
        )
        groups.setdefault(text_field(where, record, "task"), []).append(output)
    return groups


def _drawn(groups: Mapping[str, list[Output]], limit: int | None, seed: int) -> dict[str, list[Output]]:
    """At most `limit` outputs of each task, in the order of the file."""
    drawn = {}
    for name, outputs in groups.items():
        few = outputs if limit is None or limit >= len(outputs) else random.Random(seed).sample(outputs, limit)
        drawn[name] = sorted(few, key=lambda output: output.line)
    return drawn


def _graded(
    task: Task, known: Mapping[str, Item], path: Path, outputs: Sequence[Output], report: Report
) -> list[tuple[Item, Output, Judged]]:
    """The outputs of one task in one file, with their items and grades."""
    items = [item_of(f"{path}, line {output.line}", task, known, output.item_id) for output in outputs]
    name, grades = f"{task.name}: {path.name}", []
    for start in range(0, len(outputs), _PORTION):
        report(name, start, len(outputs))
        portion = slice(start, start + _PORTION)
        grades += judged(task, items[portion], [output.output for output in outputs[portion]])
    report(name, 1, 1)
    return list(zip(items, outputs, grades, strict=True))


def _disagree(output: Output, grade: Judged) -> bool:
    return output.label is not None and grade.value is not None and abs(output.label - grade.value) >= DISAGREE


def _disagreement(task: Task, path: Path, item: Item, output: Output, grade: Judged) -> dict[str, Any]:
    """What a reader needs to say who is wrong."""
    return {
        "task": task.name,
        "file": str(path),
        "line": output.line,
        "from": output.source,
        "item_id": item.item_id,
        "gold": list(item.golds) or [item.target],
        "label": output.label,
        "ours": grade.value,
        "lenient": grade.lenient,
        "found": grade.found,
        "how": grade.how,
        "status": grade.status,
        "reason": grade.reason,
        "output": output.output,
    }


def _row(task: Task, file: str, pairs: Sequence[tuple[Output, Judged]]) -> OutputsRow:
    bracket = task.scorer != "ifeval"
    labelled = [(output.label, grade.value) for output, grade in pairs if output.label is not None]
    return OutputsRow(
        task=task.name,
        file=file,
        n=len(pairs),
        strict=_mean([grade.strict for _, grade in pairs]) if bracket else None,
        score=_mean([grade.value for _, grade in pairs]),
        lenient=_mean([grade.lenient for _, grade in pairs]) if bracket else None,
        errors=sum(grade.status in ("error", "timeout") for _, grade in pairs),
        ungraded=sum(grade.value is None for _, grade in pairs),
        labelled=len(labelled),
        label=_mean([label for label, _ in labelled]),
        score_labelled=_mean([value for _, value in labelled]),
        disagreements=sum(_disagree(output, grade) for output, grade in pairs),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
