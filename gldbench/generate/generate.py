"""Generates the responses of a checkpoint: `responses_for`.

Each response is generated once and stored under a key that hashes everything the response depends on.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gldbench.generate.backend import Backend, Completion, Sampling
from gldbench.generate.checkpoint import Checkpoint, open_checkpoint
from gldbench.generate.plan import Case, PlanStore, case_of, hash_text, plan
from gldbench.schema import Item, Response, Task
from gldfusion.errors import InputError, require_known
from gldfusion.files import hash_json
from gldfusion.progress import Progress

BATCH_SIZE = 64
FLUSH_SECONDS = 5.0
"""finished batches are stored after at most this many seconds; a killed process loses no more than that"""


class ResponseStore(PlanStore, Protocol):
    """The part of `store.Store` that generation uses."""

    def responses(self, cases: Collection[str] | None = None) -> list[Response]:
        """Returns the stored responses with these case ids; None: all."""
        ...

    def append_responses(self, responses: Sequence[Response], unit: str) -> None:
        """Stores the responses of one unit of work; a second call with the same `unit` does nothing."""
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
            "run `pip install vllm` on a machine with a GPU, or leave out --backend: the default hf runs on any machine"
        ) from None
    return VLLMBackend(checkpoint, batch_size)


BACKENDS: dict[str, Callable[[Checkpoint, str | None, int], Backend]] = {
    # Wolf et al., Transformers: State-of-the-Art Natural Language Processing (2020), arXiv:1910.03771
    "hf": _hf,
    # Kwon et al., Efficient Memory Management for LLM Serving with PagedAttention (2023), arXiv:2309.06180
    "vllm": _vllm,
}
"""name -> function (checkpoint, device, sequences in a batch) that imports the library and loads the model"""

NOT_MEASURED = ("vllm",)
"""backends that were only tested with a stand-in for their library"""


@dataclass(frozen=True)
class Responses:
    """The responses in the order of the items, and what had to be generated."""

    responses: list[Response]
    generated: int
    """number of responses that were not in the store"""
    generated_tokens: int
    seconds: float
    """time of the whole call, with the loading of the model"""


class _Writer:
    """Collects whole batches, and stores them every FLUSH_SECONDS and at the end of its `with` block."""

    def __init__(self, store: ResponseStore) -> None:
        self._store, self._since = store, time.monotonic()
        self._pending: list[Response] = []

    def __enter__(self) -> _Writer:
        return self

    def add(self, responses: Sequence[Response]) -> None:
        """Takes the responses of one batch."""
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
    samplings: Sequence[Sampling | None] = (None,),
) -> Responses:
    """Returns the responses to all items of all tasks; those that are not stored are generated and stored.

    Put everything that a checkpoint is asked into one call, because tasks with the same limits share batches. All
    batches are planned before the first one is generated (`plan.plan`), and a batch is stored as a whole. A run that
    was killed therefore repeats whole batches and gives the same responses. No response is stored twice.

    Args:
        checkpoint: a folder, or what `open_checkpoint` returned for it.
        work: tasks with their items.
        store: where responses and plans are kept.
        subject: name of the checkpoint in the returned responses. A stored response keeps the name of the first
            caller; its key contains the weights, not the name.
        backend: a key of BACKENDS.
        batch_size: most sequences in a batch.
        device: "cpu", "cuda", ...; None: a GPU if there is one.
        progress: called with (responses that are done, responses in all).
        samplings: how answers are drawn; None: greedily. All items are answered for the first sampling, then all for
            the second, and so on.

    Raises:
        InputError: the backend is unknown, or the checkpoint cannot be loaded.
    """
    require_known("backend", backend, BACKENDS)
    opened = checkpoint if isinstance(checkpoint, Checkpoint) else open_checkpoint(checkpoint)
    start = time.perf_counter()
    cases = [
        case_of(opened, task, item, backend, sampling)
        for sampling in samplings
        for task, items in work
        for item in items
    ]
    wanted = {case.case_id: case for case in cases}
    stored = {response.case_id: response for response in store.responses(wanted)}
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
    """Runs one batch. Each response gets an equal share of the time of the batch."""
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
            prompt=case.item.prompt,
            gold=case.item.gold,
            variant=case.item.variant,
        )
        for case, (answer, prompt_tokens, truncated_prompt) in zip(cases, answers, strict=True)
    ]


def _complete(model: Backend, cases: Sequence[Case], checkpoint: Checkpoint) -> list[tuple[Completion, int, bool]]:
    """Generates answers; returns (answer, tokens of the prompt, whether the prompt was cut) for each case."""
    prompts = [case.item.prompt for case in cases]
    completions = model.complete(prompts, cases[0].max_tokens, cases[0].task.generation.stop, cases[0].sampling)
    counts = [model.count(prompt) for prompt in prompts]
    room = checkpoint.context - cases[0].max_tokens
    return [(answer, tokens, tokens > room) for answer, tokens in zip(completions, counts, strict=True)]


def _score(model: Backend, cases: Sequence[Case]) -> list[tuple[Completion, int, bool]]:
    """Scores the choices; returns what `_complete` returns, with the log-likelihoods as JSON text for an answer.

    No chat template is applied, because a choice continues the text of the prompt.
    """
    likelihoods = iter(model.score([pair for case in cases for pair in case.pairs]))
    answers = []
    for case in cases:
        own = [next(likelihoods) for _ in case.item.choices]
        text = json.dumps({"loglikelihoods": [one.value for one in own], "greedy": [one.greedy for one in own]})
        answer = Completion(text, tokens=0, truncated=any(one.cut.continuation for one in own))
        answers.append((answer, model.count(case.item.prompt, plain=True), any(one.cut.prompt for one in own)))
    return answers
