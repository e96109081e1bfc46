"""Responses of a checkpoint: each generated once, stored under a key of everything that determines it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gldbench.generate.backend import Backend, Completion
from gldbench.generate.checkpoint import Checkpoint, open_checkpoint
from gldbench.generate.plan import Case, PlanStore, case_of, hash_text, plan
from gldbench.schema import Item, Response, Task
from gldfusion.errors import InputError, require_known
from gldfusion.files import hash_json
from gldfusion.progress import Progress

BATCH_SIZE = 64
FLUSH_SECONDS = 5.0
"""work that a kill may lose, besides the batch in progress"""


class ResponseStore(PlanStore, Protocol):
    """The part of `store.Store` that generation needs."""

    def responses(self) -> list[Response]:
        """All stored responses."""
        ...

    def append_responses(self, responses: Sequence[Response], unit: str) -> None:
        """Stores the responses of one unit of work, once."""
        ...


def _hf(checkpoint: Checkpoint, device: str | None, batch_size: int) -> Backend:
    from gldbench.generate import hf

    return hf.HFBackend(checkpoint, hf.load(checkpoint, device), batch_size)


def _vllm(checkpoint: Checkpoint, device: str | None, batch_size: int) -> Backend:
    try:
        from gldbench.generate.vllm import VLLMBackend
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("vllm"):
            raise
        raise InputError(
            "the backend vllm needs vLLM, which is not installed\n"
            "`pip install vllm` on a machine with a GPU, or leave out --backend: hf runs anywhere"
        ) from None
    return VLLMBackend(checkpoint, batch_size)


BACKENDS: dict[str, Callable[[Checkpoint, str | None, int], Backend]] = {"hf": _hf, "vllm": _vllm}
"""name -> (checkpoint, device, sequences in a batch) -> the loaded model"""

NOT_MEASURED = ("vllm",)
"""backends that were only tested against a stand-in of their library"""


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
    before the first is generated (`plan.plan`) and stored whole: a run that was killed repeats whole batches and gives
    the same responses. No response is stored twice.

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
    cases = [case_of(opened, task, item, backend) for task, items in work for item in items]
    stored = {response.case_id: response for response in store.responses()}
    wanted = {case.case_id: case for case in cases}
    new: list[Response] = []
    tokens = 0
    report = progress or (lambda done, total: None)
    report(len(wanted.keys() & stored.keys()), len(wanted))
    if not wanted.keys() <= stored.keys():
        model = BACKENDS[backend](opened, device, batch_size)
        with _Writer(store) as writer:
            for batch in plan(model, wanted, stored.keys(), store, batch_size):
                made = _answer(model, batch, opened, subject)
                fresh = [response for response in made if response.case_id not in stored]
                writer.add(fresh)
                stored |= {response.case_id: response for response in fresh}
                new += fresh
                tokens += sum(response.output_tokens for response in made)
                report(len(wanted.keys() & stored.keys()), len(wanted))
    named = [
        dataclasses.replace(stored[case.case_id], subject=subject, task=case.task.name, item_id=case.item.item_id)
        for case in cases
    ]
    return Responses(named, len(new), tokens, time.perf_counter() - start)


def _answer(model: Backend, cases: Sequence[Case], checkpoint: Checkpoint, subject: str) -> list[Response]:
    """The responses of one batch; its time is shared equally by them."""
    start = time.perf_counter()
    answers = _score(model, cases) if cases[0].scored else _complete(model, cases, checkpoint)
    seconds = (time.perf_counter() - start) / len(cases)
    return [
        Response(
            case_id=case.case_id,
            subject=subject,
            task=case.task.benchmark,
            item_id=case.item.item_id,
            prompt_hash=hash_text(case.item.prompt),
            output=answer.text,
            prompt_tokens=prompt_tokens,
            output_tokens=answer.tokens,
            truncated_prompt=truncated_prompt,
            truncated_output=answer.truncated,
            seconds=seconds,
        )
        for case, (answer, prompt_tokens, truncated_prompt) in zip(cases, answers, strict=True)
    ]


def _complete(model: Backend, cases: Sequence[Case], checkpoint: Checkpoint) -> list[tuple[Completion, int, bool]]:
    """(answer, tokens of the prompt, the prompt was cut) of each case."""
    rendered = [model.render(case.item.prompt) for case in cases]
    completions = model.complete(rendered, cases[0].max_tokens, cases[0].task.generation.stop)
    counts = [model.count(text) for text in rendered]
    room = checkpoint.context - cases[0].max_tokens
    return [(answer, tokens, tokens > room) for answer, tokens in zip(completions, counts, strict=True)]


def _score(model: Backend, cases: Sequence[Case]) -> list[tuple[Completion, int, bool]]:
    """As `_complete`, the log-likelihoods of the choices as JSON text; no token is written.

    The prompt is read as it is, without a chat template: a choice continues the text.
    """
    likelihoods = iter(model.score([pair for case in cases for pair in case.pairs]))
    answers = []
    for case in cases:
        own = [next(likelihoods) for _ in case.item.choices]
        text = json.dumps({"loglikelihoods": [one.value for one in own], "greedy": [one.greedy for one in own]})
        answer = Completion(text, tokens=0, truncated=any(one.cut.continuation for one in own))
        answers.append((answer, model.count(case.item.prompt), any(one.cut.prompt for one in own)))
    return answers
