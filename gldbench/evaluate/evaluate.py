"""`gldbench eval`: checkpoints on benchmarks, from data files to rows and scores. Generating and grading stay apart:
`generate.responses_for` and `grade` take items, and a caller with items of its own uses them alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from gldbench import sandbox
from gldbench.env import claim, environment
from gldbench.evaluate.summary import Evaluation, TaskScore, as_json
from gldbench.generate.checkpoint import Checkpoint, open_checkpoint
from gldbench.generate.generate import BACKENDS, BATCH_SIZE, NOT_MEASURED, Responses, responses_for
from gldbench.generate.plan import answer_limit
from gldbench.grade import GRADERS
from gldbench.grade.rows import RowLabels, grade
from gldbench.schema import Item, Row, Task
from gldbench.store import Store
from gldbench.tasks import DEFAULT_VARIANT, asked_as, expand, load_items, load_task, take
from gldfusion.errors import require_known
from gldfusion.files import hash_json, lock, write_json
from gldfusion.progress import Progress

SUITE = "eval"


@dataclass(frozen=True)
class _Work:
    """What every checkpoint is asked."""

    parts: list[tuple[Task, list[Item]]]
    sizes: list[int]
    """items of each whole task"""


def _work(task_names: Sequence[str], data: Path | str, limit: int | None, variant: str, allow_changed: bool) -> _Work:
    """Reads tasks and items; where code will have to be run, a sandbox has to be there before anything is generated."""
    tasks = [asked_as(load_task(name), variant) for name in expand(task_names)]
    if any(task.scorer == "code" for task in tasks):
        sandbox.require()
    source: Path | Literal["hub"] = "hub" if data == "hub" else Path(data)
    everything = [load_items(task, source, variant=variant, allow_changed=allow_changed) for task in tasks]
    parts = [(task, take(items, limit)) for task, items in zip(tasks, everything, strict=True)]
    return _Work(parts, [len(items) for items in everything])


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
    unsafe_code: bool = False,
    allow_changed: bool = False,
) -> Evaluation:
    """Evaluates checkpoints on benchmarks; responses and rows are kept in `output`, and nothing is generated twice.

    Args:
        checkpoints: folders of Hugging Face causal language models.
        task_names: "gsm8k", "bbh", "bbh/navigate", "paper11", ...
        data: folder with the benchmarks' files, or "hub".
        limit: at most this many items of each task, round-robin over its subtasks.
        output: folder with responses/, rows/, environment.json and evaluation.json (what `as_json` gives).
        variant: the prompt that is asked, of every task.
        graders: keys of GRADERS, used where they apply; a task's headline grader is always among them.
        progress: called with (done, wanted) while one checkpoint after the other is asked.
        unsafe_code: run model-written code without a sandbox where there is none; every row then says so.
        allow_changed: take data files that are not those the tasks were defined on; every row then says so.

    Raises:
        InputError: whatever is wrong with names, data, sandbox or checkpoints, found before anything is generated.
    """
    require_known("backend", backend, BACKENDS)
    for name in graders:
        require_known("grader", name, GRADERS)
    with sandbox.unsafe_code_allowed() if unsafe_code else nullcontext():
        work = _work(task_names, data, limit, variant, allow_changed)
        opened = list({c.name: c for c in map(open_checkpoint, checkpoints)}.values())
        with lock(output / ".lock"):
            ask = partial(responses_for, backend=backend, batch_size=batch_size, device=device, progress=progress)
            evaluation = _ask_and_grade(opened, work, output, graders, backend, ask)
    return evaluation


def _ask_and_grade(
    checkpoints: Sequence[Checkpoint],
    work: _Work,
    output: Path,
    graders: Sequence[str],
    backend: str,
    ask: Callable[..., Responses],
) -> Evaluation:
    """Asks and grades one checkpoint after the other; `ask` is `responses_for` with the backend's settings."""
    env = environment(torch.get_num_threads(), workers=1)
    claim(output, env)
    store = Store(output)
    scores: list[TaskScore] = []
    made: list[Responses] = []
    for checkpoint in checkpoints:
        responses = ask(checkpoint, work.parts, store, subject=checkpoint.name)
        made.append(responses)
        labels = RowLabels(
            run_id=output.resolve().name,
            env_id=env.env_id,
            suite=SUITE,
            subject=checkpoint.name,
            method="checkpoint",
        )
        scores += _scores(checkpoint, work, responses, labels, graders)
    _keep(store, [row for score in scores for row in score.rows])
    evaluation = Evaluation(
        scores=scores,
        responses=sum(len(r.responses) for r in made),
        generated=sum(r.generated for r in made),
        generated_tokens=sum(r.generated_tokens for r in made),
        seconds=sum(r.seconds for r in made),
        backend=backend,
        measured=backend not in NOT_MEASURED,
    )
    write_json(output / "evaluation.json", as_json(evaluation))
    return evaluation


def _scores(
    checkpoint: Checkpoint,
    work: _Work,
    responses: Responses,
    labels: RowLabels,
    graders: Sequence[str],
) -> list[TaskScore]:
    """Grades one checkpoint's responses task by task."""
    scores, start = [], 0
    for (task, items), n_task in zip(work.parts, work.sizes, strict=True):
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


def _keep(store: Store, rows: Sequence[Row]) -> None:
    """Stores the rows that are not there; a row that was graded otherwise before is replaced.

    A larger limit asks again for items that have been graded; another grader's version, or a sandbox where there was
    none, gives them other rows.
    """

    def key(row: Row) -> tuple[Any, ...]:
        return (row.subject, row.task, row.task_version, row.variant, row.item, row.grader, row.filter, row.metric)

    before = store.rows()
    stored, current = {key(row): row for row in before}, {key(row): row for row in rows}
    new = [row for name, row in current.items() if name not in stored]
    if len(stored) < len(before) or any(stored[name] != row for name, row in current.items() if name in stored):
        store.replace_rows(list((stored | current).values()))
    elif new:
        store.append_rows(new, unit=f"rows-{hash_json([key(row) for row in new])}")
