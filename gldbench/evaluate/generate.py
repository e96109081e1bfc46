"""Responses of a checkpoint: each generated once, stored under a key of everything that determines it."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gldbench.evaluate.backend import Backend
from gldbench.evaluate.checkpoint import Checkpoint, open_checkpoint
from gldbench.schema import Item, Response, Task
from gldfusion.errors import InputError, did_you_mean
from gldfusion.files import hash_json

BATCH_SIZE = 64
TOKENS_PER_BATCH = 2**15
"""prompt and answer tokens of a batch, padding counted: bounds the memory of long prompts"""

FLUSH_SECONDS = 5.0
"""work that a kill may lose, besides the batch in progress"""

Progress = Callable[[int, int], None]
"""called with (responses there, responses wanted)"""


class ResponseStore(Protocol):
    """The part of `store.Store` that generation needs."""

    def responses(self) -> list[Response]:
        """All stored responses."""
        ...

    def append_responses(self, responses: Sequence[Response], unit: str) -> None:
        """Stores the responses of one unit of work, once."""
        ...


def _hf(checkpoint: Checkpoint, device: str | None, batch_size: int) -> Backend:
    from gldbench.evaluate.hf import HFBackend  # torch and transformers: only where something is generated

    return HFBackend(checkpoint, device, batch_size)


BACKENDS: dict[str, Callable[[Checkpoint, str | None, int], Backend]] = {"hf": _hf}


def require_known(what: str, name: str, known: Iterable[str]) -> None:
    """An InputError where `name` is none of `known`."""
    names = list(known)
    if name not in names:
        raise InputError(f'no {what} is called "{name}"{did_you_mean(name, names)}\nknown: {", ".join(names)}')


@dataclass(frozen=True)
class Responses:
    """Responses in the order of the items asked for, and what had to be generated for them."""

    responses: list[Response]
    generated: int
    """responses that were not in the store"""
    generated_tokens: int
    seconds: float
    """spent generating, loading the model included"""


class _Writer:
    """Stores whole batches, at the latest FLUSH_SECONDS after they were made, and on the way out of its block."""

    def __init__(self, store: ResponseStore) -> None:
        self._store, self._since = store, time.monotonic()
        self._pending: list[Response] = []

    def __enter__(self) -> _Writer:
        return self

    def add(self, responses: Sequence[Response]) -> None:
        """Takes one batch."""
        self._pending += responses
        if time.monotonic() - self._since >= FLUSH_SECONDS:
            self._flush()

    def __exit__(self, *_: object) -> None:
        self._flush()

    def _flush(self) -> None:
        if self._pending:
            unit = f"responses-{hash_json([response.case_id for response in self._pending])}"
            self._store.append_responses(self._pending, unit)
        self._pending, self._since = [], time.monotonic()


@dataclass(frozen=True)
class _Case:
    task: Task
    item: Item
    max_tokens: int
    case_id: str


def answer_limit(task: Task, checkpoint: Checkpoint) -> int:
    """Tokens an answer may have: the task's limit, but at most half of the context; the prompt has the other half."""
    return max(1, min(task.generation.max_tokens, checkpoint.context // 2))


def responses_for(
    checkpoint: Checkpoint | Path,
    work: Sequence[tuple[Task, Sequence[Item]]],
    store: ResponseStore,
    *,
    subject: str,
    backend: str = "hf",
    batch_size: int = BATCH_SIZE,
    device: str | None = None,
    progress: Progress | None = None,
) -> Responses:
    """Responses to all items of all tasks: the stored ones, the others generated and stored batch by batch.

    Give everything a checkpoint is asked in one call: tasks with the same limits share batches. Batches are planned
    from all items, stored or not, and stored whole: a run that was killed repeats whole batches and gives the same
    responses.

    Args:
        checkpoint: a folder, or what `open_checkpoint` made of it.
        work: tasks with their items.
        subject: name that the returned responses carry (stored ones belong to the weights, whoever asked first).
        backend: a key of BACKENDS.
        device: "cpu", "cuda", ...; None takes a GPU where there is one.

    Raises:
        InputError: unknown backend, or not a checkpoint that can be loaded.
    """
    require_known("backend", backend, BACKENDS)
    opened = checkpoint if isinstance(checkpoint, Checkpoint) else open_checkpoint(checkpoint)
    start = time.perf_counter()
    cases = [_case(opened, task, item, backend) for task, items in work for item in items]
    stored = {response.case_id: response for response in store.responses()}
    wanted = {case.case_id: case for case in cases}
    new: list[Response] = []
    report = progress or (lambda done, total: None)
    report(len(wanted.keys() & stored.keys()), len(wanted))
    if not wanted.keys() <= stored.keys():
        model = BACKENDS[backend](opened, device, batch_size)
        with _Writer(store) as writer:
            for batch in _plan(model, list(wanted.values()), batch_size):
                missing = [case for case in batch if case.case_id not in stored]
                if missing:
                    made = _generate(model, missing, opened, subject)
                    writer.add(made)
                    stored |= {response.case_id: response for response in made}
                    new += made
                    report(len(wanted.keys() & stored.keys()), len(wanted))
    named = [
        dataclasses.replace(stored[case.case_id], subject=subject, task=case.task.name, item_id=case.item.item_id)
        for case in cases
    ]
    return Responses(named, len(new), sum(r.output_tokens for r in new), time.perf_counter() - start)


def _case(checkpoint: Checkpoint, task: Task, item: Item, backend: str) -> _Case:
    """The item with the key of everything its response depends on."""
    limit = answer_limit(task, checkpoint)
    key = {
        "checkpoint": checkpoint.hash,
        "chat_template": checkpoint.chat_template,
        "task": [task.benchmark, task.version],
        "prompt": _hash_text(item.prompt),
        "generation": {"decoding": "greedy", "max_tokens": limit, "stop": task.generation.stop},
        "backend": backend,
    }
    return _Case(task, item, limit, hash_json(key))


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plan(model: Backend, cases: Sequence[_Case], batch_size: int) -> list[list[_Case]]:
    """Batches of cases with equal settings, longest prompts first, within `batch_size` and TOKENS_PER_BATCH."""
    lengths = {case.case_id: model.count(model.render(case.item.prompt)) for case in cases}

    def settings(case: _Case) -> tuple[int, tuple[str, ...]]:
        return case.max_tokens, case.task.generation.stop

    batches: list[list[_Case]] = []
    for case in sorted(cases, key=lambda c: (settings(c), -lengths[c.case_id], c.case_id)):
        batch = batches[-1] if batches else []
        width = lengths[batch[0].case_id] + case.max_tokens if batch else 0
        fits = batch and settings(batch[0]) == settings(case) and len(batch) < batch_size
        if fits and (len(batch) + 1) * width <= TOKENS_PER_BATCH:
            batch.append(case)
        else:
            batches.append([case])
    return batches


def _generate(model: Backend, cases: Sequence[_Case], checkpoint: Checkpoint, subject: str) -> list[Response]:
    """Generates one batch; its time is shared equally by its responses."""
    start = time.perf_counter()
    rendered = [model.render(case.item.prompt) for case in cases]
    completions = model.complete(rendered, cases[0].max_tokens, cases[0].task.generation.stop)
    seconds = (time.perf_counter() - start) / len(cases)
    room = checkpoint.context - cases[0].max_tokens
    responses = []
    for case, text, completion in zip(cases, rendered, completions, strict=True):
        tokens = model.count(text)
        responses.append(
            Response(
                case_id=case.case_id,
                subject=subject,
                task=case.task.benchmark,
                item_id=case.item.item_id,
                prompt_hash=_hash_text(case.item.prompt),
                output=completion.text,
                prompt_tokens=tokens,
                output_tokens=completion.tokens,
                truncated_prompt=tokens > room,
                truncated_output=completion.truncated,
                seconds=seconds,
            )
        )
    return responses
