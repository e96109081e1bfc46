"""Plans the work before anything is generated: the key of every response, and the batches."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gldbench.generate.backend import Backend, Sampling
from gldbench.generate.checkpoint import AS_STORED, Checkpoint
from gldbench.schema import Item, Task
from gldfusion.chat import RULES
from gldfusion.files import hash_json

SCORED_TOKENS_PER_BATCH = 2**13
"""the same for log-likelihoods, which keep the logits of every token over the whole vocabulary"""


@dataclass(frozen=True)
class Case:
    """One item together with its task, its token limit and the key of its response."""

    task: Task
    item: Item
    max_tokens: int
    """token limit of the answer"""
    case_id: str
    sampling: Sampling | None = None
    """how the answer is drawn; None: greedily"""

    @property
    def scored(self) -> bool:
        """True if the choices of the item are scored by their log-likelihood; False if an answer is generated."""
        return self.task.kind == "loglikelihood"

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Prompt and continuation for each choice. A choice begins with the space that separates it from the prompt."""
        return [(self.item.prompt, choice) for choice in self.item.choices]


class PlanStore(Protocol):
    """The part of `store.Store` that keeps plans."""

    def plans(self, batch_size: int) -> list[list[str]]:
        """Returns the batches of case ids that were planned with this batch size, finished or not."""
        ...

    def append_plan(self, batches: Sequence[Sequence[str]], batch_size: int) -> None:
        """Stores batches of case ids before they are generated."""
        ...


def answer_limit(task: Task, checkpoint: Checkpoint) -> int:
    """Returns the token limit of an answer: that of the task, but at most half of the context of the checkpoint."""
    if task.kind == "loglikelihood":  # nothing is written
        return task.generation.max_tokens
    return max(1, min(task.generation.max_tokens, checkpoint.context // 2))


def case_of(checkpoint: Checkpoint, task: Task, item: Item, backend: str, sampling: Sampling | None = None) -> Case:
    """Makes the case of one item. Its `case_id` hashes everything that the response depends on.

    Args:
        checkpoint: the model that is asked.
        task: the task of the item; the key covers its name and version.
        item: the item; the key covers its prompt and, for log-likelihoods, its choices.
        backend: a key of `generate.BACKENDS`.
        sampling: how the answer is drawn; None: greedily.
    """
    limit = answer_limit(task, checkpoint)
    asked: dict[str, Any] = {"decoding": "greedy", "max_tokens": limit, "stop": task.generation.stop}
    if task.kind == "loglikelihood":
        asked = {"decoding": "loglikelihood", "choices": item.choices}
    if sampling is not None:
        asked["decoding"] = dataclasses.asdict(sampling)
    key = {
        "checkpoint": checkpoint.hash,
        "prompts": RULES,
        "chat_template": checkpoint.chat_template,
        "task": [task.benchmark, task.version],
        "prompt": hash_text(item.prompt),
        "generation": asked,
        "backend": backend,
    }
    if checkpoint.engine != AS_STORED:  # not in the key otherwise, so that responses of older versions keep theirs
        key["engine"] = dataclasses.asdict(checkpoint.engine)
    return Case(task, item, limit, hash_json(key), sampling)


def hash_text(text: str) -> str:
    """SHA-256 (hex) of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def plan(
    model: Backend, wanted: Mapping[str, Case], stored: Collection[str], store: PlanStore, batch_size: int
) -> list[list[Case]]:
    """Makes the batches that answer every case of `wanted` without a stored response.

    The other prompts of a batch change the last digits of its logits. For that reason a batch that an earlier run
    planned and did not finish is repeated as a whole. The remaining cases get new batches, which are stored in `store`
    before they are generated. A case with a stored response is never put into a new batch.

    Args:
        model: counts tokens.
        wanted: case id -> case, everything that is asked now.
        stored: the case ids that have a response.
        store: holds the plans of earlier runs, and gets the new one.
        batch_size: most sequences in a batch.
    """
    unfinished: list[list[Case]] = []
    planned: set[str] = set()
    for batch in store.plans(batch_size):
        if wanted.keys() >= set(batch) and any(i not in stored and i not in planned for i in batch):
            unfinished.append([wanted[i] for i in batch])
            planned.update(batch)
    new = _batches(model, [case for i, case in wanted.items() if i not in stored and i not in planned], batch_size)
    if new:
        store.append_plan([[case.case_id for case in batch] for batch in new], batch_size)
    return unfinished + new


def _batches(model: Backend, cases: Sequence[Case], batch_size: int) -> list[list[Case]]:
    """Groups cases with equal settings, longest first, within `batch_size` sequences and the limit on tokens."""
    widths = {case.case_id: _width(model, case) for case in cases}

    def settings(case: Case) -> tuple[bool, int, tuple[str, ...], tuple[float, int]]:
        drawn = (0.0, 0) if case.sampling is None else (case.sampling.temperature, case.sampling.seed)
        return case.scored, case.max_tokens, () if case.scored else case.task.generation.stop, drawn

    def sequences(case: Case) -> int:
        return max(1, len(case.item.choices)) if case.scored else 1

    batches: list[list[Case]] = []
    for case in sorted(cases, key=lambda c: (settings(c), -widths[c.case_id], c.case_id)):
        batch = batches[-1] if batches else []
        rows = sum(map(sequences, batch)) + sequences(case)
        tokens = SCORED_TOKENS_PER_BATCH if case.scored else model.tokens_per_batch
        same = batch and settings(batch[0]) == settings(case)
        if same and rows <= batch_size and rows * widths[batch[0].case_id] <= tokens:
            batch.append(case)
        else:
            batches.append([case])
    return batches


def _width(model: Backend, case: Case) -> int:
    """Number of tokens of the prompt and the longest answer or choice that may follow it."""
    if case.scored:
        longest = max(case.item.choices, key=len, default="")
        return model.count(case.item.prompt, plain=True) + model.count(longest, plain=True)
    return model.count(case.item.prompt) + case.max_tokens
