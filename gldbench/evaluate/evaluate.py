"""`gldbench eval`: checkpoints on benchmarks, from data files to rows and scores. Generating and grading stay apart:
`generate.responses_for` and `grade` take items, and a caller with items of its own uses them alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gldbench.env import environment
from gldbench.evaluate.checkpoint import Checkpoint, open_checkpoint
from gldbench.evaluate.generate import (
    BACKENDS,
    BATCH_SIZE,
    Progress,
    Responses,
    answer_limit,
    require_known,
    responses_for,
)
from gldbench.evaluate.graders import GRADERS
from gldbench.evaluate.summary import Evaluation, TaskScore, as_json
from gldbench.schema import Environment, Item, Response, Row, Task
from gldbench.store import Store
from gldbench.tasks import DEFAULT_VARIANT, load_items, load_task, take
from gldfusion.errors import InputError
from gldfusion.files import hash_json, lock, write_json

SUITE = "eval"


@dataclass(frozen=True)
class RowLabels:
    """What a row says about where it belongs, besides the item and its grade."""

    run_id: str
    env_id: str
    suite: str
    subject: str
    method: str
    world_seed: int = 0
    seed: int = 0


def grade(
    task: Task,
    items: Sequence[Item],
    responses: Sequence[Response],
    labels: RowLabels,
    graders: Sequence[str] = ("lm_eval",),
) -> list[Row]:
    """Rows of stored responses: one per grader, filter and item. Runs no model.

    Args:
        task: what the items belong to; it names scorer and filters.
        items: any of the task's items.
        responses: their responses, in the same order.
        graders: keys of GRADERS.

    Raises:
        InputError: unknown grader.
        ValueError: responses that do not belong to the items.
    """
    if [item.item_id for item in items] != [response.item_id for response in responses]:
        raise ValueError(f"the responses do not belong to the {len(items)} items of task {task.name}")
    clusters = {item.item_id: item for item in items}
    rows = []
    for name in graders:
        require_known("grader", name, GRADERS)
        for mark in GRADERS[name].grade(task, items, responses):
            item = clusters[mark.item_id]
            rows.append(
                Row(
                    **dataclasses.asdict(labels),
                    task=task.name,
                    task_version=task.version,
                    variant=item.variant,
                    item=mark.item_id,
                    cluster=item.cluster,
                    grader=name,
                    filter=mark.filter,
                    metric=mark.metric,
                    value=mark.value,
                    unit="fraction",
                    status=mark.status,
                    reason=mark.reason,
                )
            )
    return rows


def evaluate(
    checkpoints: Sequence[Path],
    task_names: Sequence[str],
    data: Path | str,
    limit: int | None,
    output: Path,
    *,
    variant: str = DEFAULT_VARIANT,
    graders: Sequence[str] = tuple(GRADERS),
    backend: str = "hf",
    batch_size: int = BATCH_SIZE,
    device: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluates checkpoints on benchmarks; responses and rows are kept in `output`, and nothing is generated twice.

    Args:
        checkpoints: folders of Hugging Face causal language models.
        task_names: "gsm8k", "bbh", "bbh/navigate", ...
        data: folder with the benchmarks' files, or "hub".
        limit: at most this many items of each task, round-robin over its subtasks.
        output: folder with responses/, rows/, environment.json and evaluation.json (what `as_json` gives).
        graders: keys of GRADERS; a task's headline grader is always among them.
        progress: called with (done, wanted) while one checkpoint after the other is asked.

    Raises:
        InputError: whatever is wrong with names, data or checkpoints, found before anything is generated.
    """
    require_known("backend", backend, BACKENDS)
    for name in graders:
        require_known("grader", name, GRADERS)
    source: Path | Literal["hub"] = "hub" if data == "hub" else Path(data)
    tasks = [load_task(name) for name in dict.fromkeys(task_names)]
    everything = [load_items(task, source, variant=variant) for task in tasks]
    work = [(task, take(items, limit)) for task, items in zip(tasks, everything, strict=True)]
    opened = list({c.name: c for c in map(open_checkpoint, checkpoints)}.values())
    store = Store(output)
    scores, made = [], []
    with lock(output / ".lock"):
        env = _claim(output)
        for checkpoint in opened:
            responses = responses_for(
                checkpoint,
                work,
                store,
                subject=checkpoint.name,
                backend=backend,
                batch_size=batch_size,
                device=device,
                progress=progress,
            )
            made.append(responses)
            labels = RowLabels(output.resolve().name, env.env_id, SUITE, checkpoint.name, "checkpoint")
            scores += _scores(checkpoint, work, [len(items) for items in everything], responses, labels, graders)
        _append_new(store, [row for score in scores for row in score.rows])
        evaluation = Evaluation(
            scores=scores,
            responses=sum(len(r.responses) for r in made),
            generated=sum(r.generated for r in made),
            generated_tokens=sum(r.generated_tokens for r in made),
            seconds=sum(r.seconds for r in made),
        )
        write_json(output / "evaluation.json", as_json(evaluation))
    return evaluation


def _claim(output: Path) -> Environment:
    """This environment, written to a new output folder; a folder begun in another one is refused."""
    import torch

    env, path = environment(torch.get_num_threads(), workers=1), output / "environment.json"
    if path.exists():
        before = json.loads(path.read_text())["env_id"]
        if before != env.env_id:
            raise InputError(
                f"{output} was begun in another environment ({before}, now {env.env_id}): numbers would not compare\n"
                "give another folder with --output"
            )
    else:
        write_json(path, dataclasses.asdict(env))
    return env


def _scores(
    checkpoint: Checkpoint,
    work: Sequence[tuple[Task, Sequence[Item]]],
    sizes: Sequence[int],
    responses: Responses,
    labels: RowLabels,
    graders: Sequence[str],
) -> list[TaskScore]:
    """Grades one checkpoint's responses task by task; `sizes` are the items of each whole task."""
    scores, start = [], 0
    for (task, items), n_task in zip(work, sizes, strict=True):
        own = responses.responses[start : start + len(items)]
        start += len(items)
        wanted = tuple(dict.fromkeys((task.headline.grader, *graders)))
        scores.append(
            TaskScore(
                subject=checkpoint.name,
                checkpoint=str(checkpoint.path),
                task=task,
                n=len(items),
                n_task=n_task,
                rows=grade(task, items, own, labels, wanted),
                truncated_prompts=sum(r.truncated_prompt for r in own),
                truncated_outputs=sum(r.truncated_output for r in own),
                max_tokens=answer_limit(task, checkpoint),
            )
        )
    return scores


def _append_new(store: Store, rows: Iterable[Row]) -> None:
    """Stores the rows that are not there: a larger limit asks again for items that have been graded."""

    def key(row: Row) -> tuple[Any, ...]:
        return (row.subject, row.task, row.task_version, row.variant, row.item, row.grader, row.filter, row.metric)

    stored = {key(row) for row in store.rows()}
    new = [row for row in rows if key(row) not in stored]
    if new:
        store.append_rows(new, unit=f"rows-{hash_json([key(row) for row in new])}")
