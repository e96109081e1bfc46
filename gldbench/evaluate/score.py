"""Grades a file of responses: JSON lines `{"item_id": ..., "output": ...}`, or a file that another harness wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gldbench import sandbox
from gldbench.evaluate import foreign
from gldbench.evaluate.foreign.given import Given, read_given
from gldbench.evaluate.results import estimate_json, graders_json, headline_json
from gldbench.evaluate.samples import mean_rows, sample_json
from gldbench.evaluate.task_score import TaskScore
from gldbench.grade import GRADERS
from gldbench.grade.rows import RowLabels, bare_response, grade
from gldbench.items.read import scored_items
from gldbench.items.records import Items
from gldbench.items.text import require_folder, write_items
from gldbench.schema import Item, Row, Task
from gldbench.tasks import CHANGED, load_items, load_task


@dataclass(frozen=True)
class Graded:
    """The graded responses of a file."""

    name: str
    """the file"""
    task: Task
    known: list[Item]
    """all items of the task"""
    items: list[Item]
    """those that have a response"""
    given: Given
    rows: list[list[Row]]
    """the rows of the first responses, of the second responses, ..."""

    def views(self) -> Items:
        """The items with their responses and grades: one side for each response that an item may have."""
        several = len(self.rows) > 1
        names = [f"{self.name}, sample {number}" if several else self.name for number in range(1, 1 + len(self.rows))]
        return scored_items(names, self.task, self.items, self.given.samples, self.rows)

    def scores(self) -> list[TaskScore]:
        """The scores of the first responses, of the second responses, ..."""
        return [
            TaskScore(
                subject=self.name,
                checkpoint="",
                task=self.task,
                n=len(outputs),
                n_task=len(self.known),
                rows=rows,
                truncated_prompts=0,
                truncated_outputs=0,
                max_tokens=self.task.generation.max_tokens,
            )
            for outputs, rows in zip(self.given.samples, self.rows, strict=True)
        ]


def grade_file(
    task_name: str,
    responses: Path,
    data: Path | Literal["hub"],
    graders: Sequence[str] = tuple(GRADERS),
    *,
    file_format: str = foreign.AUTO,
    partial: bool = False,
    unsafe_code: bool = False,
    allow_changed: bool = False,
) -> Graded:
    """Grades the responses in a file, and leaves the rows as they are. The arguments are those of `score`."""
    task = load_task(task_name)
    items = load_items(task, data, allow_changed=allow_changed)
    given = read_given(responses, file_format, task, items, partial)
    labels = RowLabels(run_id="", env_id="", suite="score", subject=str(responses), method="stored")
    rows = []
    with sandbox.unsafe_code_allowed() if unsafe_code else nullcontext():
        for outputs in given.samples:
            own = [item for item in items if item.item_id in outputs]
            texts = [bare_response(item, outputs[item.item_id]) for item in own]
            rows.append(grade(task, own, texts, labels, with_headline(task, graders)))
    answered = [item for item in items if item.item_id in given.samples[0]]
    return Graded(name=str(responses), task=task, known=items, items=answered, given=given, rows=rows)


def with_headline(task: Task, graders: Sequence[str]) -> tuple[str, ...]:
    """The grader of the task's headline, and the given ones, each once."""
    return tuple(dict.fromkeys((task.headline.grader, *graders)))


def score(
    task_name: str,
    responses: Path,
    data: Path | Literal["hub"],
    graders: Sequence[str] = tuple(GRADERS),
    *,
    file_format: str = foreign.AUTO,
    partial: bool = False,
    unsafe_code: bool = False,
    allow_changed: bool = False,
    items_file: Path | None = None,
) -> dict[str, Any]:
    """Scores the responses in a file.

    Args:
        task_name: "gsm8k", "mmlu/anatomy", ...
        responses: file of JSON lines `{"item_id": ..., "output": ...}`, or a file of another harness. An output of null
            counts as an empty text, and a list holds several samples. The file may hold any of the task's items in any
            order, each at most once. Other keys are ignored.
        data: folder with the files of the benchmarks, or "hub".
        graders: keys of GRADERS. A grader that does not apply to the task is left out; the grader of the task's
            headline is always used.
        file_format: "auto", "gldbench" or a key of `foreign.READERS`.
        partial: leave out responses of another harness's file that belong to no item of the task.
        unsafe_code: if there is no sandbox, run model-written code without one; every row then says so.
        allow_changed: accept data files with another checksum.
        items_file: file for prompt, gold answer, output and grades of every graded item: an HTML page if its name ends
            in .html, else JSON lines; None: none is written.

    Returns:
        A dictionary with the keys "task", "n", "n_task", "headline", "by_subtask", "graders", "not_applicable",
        "notes", "changed_data", "format", "unmatched" and "samples". Scores are in [0, 1]; "n" of the task's "n_task"
        items have a response; "graders" has an entry for each grader that applies. A score is the mean over the
        responses that the grader could grade, and "ungraded" counts the others; without any it is null. "samples" is
        null if every item has one response; otherwise all scores are means over the samples, and it holds pass@k.

    Raises:
        InputError: a name, the data or a line of the file is not as it should be; the message names the line.
    """
    if items_file is not None:
        require_folder(items_file)
    graded = grade_file(
        task_name,
        responses,
        data,
        graders,
        file_format=file_format,
        partial=partial,
        unsafe_code=unsafe_code,
        allow_changed=allow_changed,
    )
    task, scores = graded.task, graded.scores()
    if items_file is not None:
        write_items(graded.views(), items_file, f"{task.name}: items of {responses.name}")
    result = scores[0]
    if len(scores) > 1:
        result = dataclasses.replace(result, rows=mean_rows(graded.rows))
    by_subtask = result.by_subtask
    return {
        "task": task.name,
        "n": len(graded.items),
        "n_task": len(graded.known),
        "headline": headline_json(result) | _bracket(scores) | {"ungraded": sum(one.ungraded for one in scores)},
        "by_subtask": None if by_subtask is None else estimate_json(by_subtask),
        "graders": _with_counts(graders_json(result.rows, task), [graders_json(rows, task) for rows in graded.rows]),
        "not_applicable": [name for name in with_headline(task, graders) if not GRADERS[name].applies(task)],
        "notes": [*graded.given.notes, *result.notes],
        "changed_data": any(item.variant.endswith(CHANGED) for item in graded.known),
        "format": graded.given.format,
        "unmatched": graded.given.unmatched,
        "samples": sample_json(task, scores) if len(scores) > 1 else None,
    }


def _bracket(scores: Sequence[TaskScore]) -> dict[str, Any]:
    """The strict and the lenient score, as the mean over all graded responses."""
    brackets = [(len(one.graded), *one.bracket) for one in scores if one.bracket]
    total = sum(n for n, _, _ in brackets)
    if not total:
        return {"strict": None, "lenient": None}
    return {
        "strict": sum(n * strict for n, strict, _ in brackets) / total,
        "lenient": sum(n * lenient for n, _, lenient in brackets) / total,
    }


def _with_counts(graders: dict[str, Any], by_sample: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The graders' numbers, with the counts of answers not found, of errors and of missing grades over all samples."""
    for name, own in graders.items():
        for count in ("no_answer", "errors", "ungraded"):
            own[count] = sum(one[name][count] for one in by_sample)
    return graders
