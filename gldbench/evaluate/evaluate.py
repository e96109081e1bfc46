"""Evaluates checkpoints on benchmarks: reads tasks and data, generates, grades, and stores rows and scores.

`generate.responses_for` and `grade.rows.grade` do the two main steps. Both take items, so that a caller with its own
items (such as `world`) can use them without this module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from gldbench import sandbox
from gldbench.env import claim, environment
from gldbench.evaluate.results import Evaluation, as_json
from gldbench.evaluate.task_score import TaskScore
from gldbench.generate.checkpoint import AS_STORED, Checkpoint, Engine, open_checkpoint, require_files
from gldbench.generate.generate import BACKENDS, BATCH_SIZE, NOT_MEASURED, Responses, responses_for
from gldbench.generate.plan import answer_limit
from gldbench.generate.settings import settings_of
from gldbench.grade import GRADERS
from gldbench.grade.rows import RowLabels, grade
from gldbench.schema import Item, Row, Task
from gldbench.store import Store
from gldbench.tasks import DEFAULT_VARIANT, asked_as, expand, load_items, load_task, take
from gldfusion.errors import require_known
from gldfusion.files import hash_json, lock, write_json
from gldfusion.manifest import change_manifest
from gldfusion.progress import Progress

SUITE = "eval"


@dataclass(frozen=True)
class _Work:
    """The tasks and items that every checkpoint is asked."""

    parts: list[tuple[Task, list[Item]]]
    sizes: list[int]
    """number of items of each whole task, before `limit`"""


def _work(
    task_names: Sequence[str],
    data: Path | str,
    limit: int | None,
    variant: str,
    max_tokens: int | None,
    allow_changed: bool,
) -> _Work:
    """Reads tasks and items. For a task whose answers are programs, it also checks that the sandbox works."""
    tasks = [_limited(asked_as(load_task(name), variant), max_tokens) for name in expand(task_names)]
    if any(task.scorer == "code" for task in tasks):
        sandbox.require()
    source: Path | Literal["hub"] = "hub" if data == "hub" else Path(data)
    everything = [load_items(task, source, variant=variant, allow_changed=allow_changed) for task in tasks]
    parts = [(task, take(items, limit)) for task, items in zip(tasks, everything, strict=True)]
    return _Work(parts, [len(items) for items in everything])


def _limited(task: Task, max_tokens: int | None) -> Task:
    """The task with another token limit of an answer, if one is given."""
    if max_tokens is None:
        return task
    return dataclasses.replace(task, generation=dataclasses.replace(task.generation, max_tokens=max_tokens))


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
    engine: Engine = AS_STORED,
    max_tokens: int | None = None,
    progress: Progress | None = None,
    unsafe_code: bool = False,
    allow_changed: bool = False,
    trust_remote_code: bool = False,
) -> Evaluation:
    """Evaluates checkpoints on benchmarks. Stored responses are used again, so nothing is generated twice.

    All arguments are checked before anything is generated, and names, folders and data before torch is imported.

    Args:
        checkpoints: folders of Hugging Face causal language models.
        task_names: "gsm8k", "bbh", "bbh/navigate", "paper11", ...
        data: folder with the files of the benchmarks, or "hub".
        limit: most items of each task, taken from its subtasks in turn; None: all.
        output: folder for responses/, rows/, plans/, environment.json and evaluation.json (the result of `as_json`).
        variant: the prompt variant, the same for every task.
        graders: keys of GRADERS. A grader that does not apply to a task is left out; the grader of the task's headline
            is always used.
        backend: a key of BACKENDS.
        batch_size: most sequences in a batch.
        device: "cpu", "cuda", ...; None: a GPU if there is one.
        engine: data type and number of GPUs of every checkpoint.
        max_tokens: token limit of an answer; None: that of each task.
        progress: called with (responses that are done, responses in all), from the start for each checkpoint.
        unsafe_code: if there is no sandbox, run model-written code without one; every row then says so.
        allow_changed: accept data files with another checksum; every row then says so.
        trust_remote_code: run code that the checkpoints bring; every row and evaluation.json then say so.

    Raises:
        InputError: a name, a folder, the data, the sandbox or a checkpoint is not as it should be, or `output` is in
            use or holds results of another environment.
    """
    require_known("backend", backend, BACKENDS)
    for name in graders:
        require_known("grader", name, GRADERS)
    for path in checkpoints:
        require_files(path, trust_remote_code)
    with sandbox.unsafe_code_allowed() if unsafe_code else nullcontext():
        work = _work(task_names, data, limit, variant, max_tokens, allow_changed)
        found = (open_checkpoint(path, trust_remote_code, engine) for path in checkpoints)
        opened = list({checkpoint.name: checkpoint for checkpoint in found}.values())
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
    """Asks and grades one checkpoint after the other. `ask` is `responses_for` with the settings of the backend."""
    import torch  # here, so that errors about arguments come without the seconds that torch takes

    env = environment(torch.get_num_threads(), workers=1)
    claim(output, env)
    store = Store(output)
    store.settle()
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
            remote_code=checkpoint.trust_remote_code,
        )
        scores += _scores(checkpoint, work, responses, labels, graders, backend)
    _keep(store, [row for score in scores for row in score.rows])
    evaluation = Evaluation(
        scores=scores,
        responses=sum(len(r.responses) for r in made),
        generated=sum(r.generated for r in made),
        generated_tokens=sum(r.generated_tokens for r in made),
        seconds=sum(r.seconds for r in made),
        backend=backend,
        measured=backend not in NOT_MEASURED,
        remote_code=any(checkpoint.trust_remote_code for checkpoint in checkpoints),
    )
    write_json(output / "evaluation.json", as_json(evaluation))
    change_manifest(output, add=["evaluation.json"])
    return evaluation


def _scores(
    checkpoint: Checkpoint,
    work: _Work,
    responses: Responses,
    labels: RowLabels,
    graders: Sequence[str],
    backend: str,
) -> list[TaskScore]:
    """Grades the responses of one checkpoint, task by task."""
    scores, start = [], 0
    for (task, items), n_task in zip(work.parts, work.sizes, strict=True):
        own = responses.responses[start : start + len(items)]
        start += len(items)
        wanted = tuple(dict.fromkeys((task.headline.grader, *graders)))
        settings = settings_of(task, checkpoint, backend).as_text()
        scores.append(
            TaskScore(
                subject=checkpoint.name,
                checkpoint=str(checkpoint.path),
                task=task,
                n=len(items),
                n_task=n_task,
                rows=grade(task, items, own, dataclasses.replace(labels, settings=settings), wanted),
                truncated_prompts=sum(r.truncated_prompt for r in own),
                truncated_outputs=sum(r.truncated_output for r in own),
                max_tokens=answer_limit(task, checkpoint),
            )
        )
    return scores


def _keep(store: Store, rows: Sequence[Row]) -> None:
    """Stores the new rows, and replaces a stored row whose grade has changed.

    A second call grades all its items again. A grade can differ from the stored one, for example after a new version of
    a grader, or because the first call had no sandbox.
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
