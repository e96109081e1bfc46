"""What a checkpoint is asked, under which keys and in which batches: settled before anything is generated."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gldbench.generate.backend import Backend
from gldbench.generate.checkpoint import Checkpoint
from gldbench.schema import Item, Task
from gldfusion.files import hash_json

TOKENS_PER_BATCH = 2**15
"""prompt and answer tokens of a batch, padding counted: bounds the memory of long prompts"""

SCORED_TOKENS_PER_BATCH = 2**13
"""the same for log-likelihoods, where every token has logits over the whole vocabulary"""


@dataclass(frozen=True)
class Case:
    """One item as one checkpoint is asked it."""

    task: Task
    item: Item
    max_tokens: int
    """that the answer may have"""
    case_id: str

    @property
    def scored(self) -> bool:
        """Log-likelihoods of the item's choices are asked for, not an answer."""
        return self.task.kind == "loglikelihood"

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Prompt and continuation of each choice; a choice begins with the space that separates it."""
        return [(self.item.prompt, choice) for choice in self.item.choices]


class PlanStore(Protocol):
    """The part of `store.Store` that keeps plans."""

    def plans(self, batch_size: int) -> list[list[str]]:
        """Batches of case ids that were planned with this size, finished or not."""
        ...

    def append_plan(self, batches: Sequence[Sequence[str]], batch_size: int) -> None:
        """Records batches of case ids before they are generated."""
        ...


def answer_limit(task: Task, checkpoint: Checkpoint) -> int:
    """Tokens an answer may have: the task's limit, but at most half of the context; the prompt has the other half."""
    if task.kind == "loglikelihood":  # nothing is written
        return task.generation.max_tokens
    return max(1, min(task.generation.max_tokens, checkpoint.context // 2))


def case_of(checkpoint: Checkpoint, task: Task, item: Item, backend: str) -> Case:
    """The item with the key of everything its response depends on."""
    limit = answer_limit(task, checkpoint)
    asked: dict[str, Any] = {"decoding": "greedy", "max_tokens": limit, "stop": task.generation.stop}
    if task.kind == "loglikelihood":
        asked = {"decoding": "loglikelihood", "choices": item.choices}
    key = {
        "checkpoint": checkpoint.hash,
        "chat_template": checkpoint.chat_template,
        "task": [task.benchmark, task.version],
        "prompt": hash_text(item.prompt),
        "generation": asked,
        "backend": backend,
    }
    return Case(task, item, limit, hash_json(key))


def hash_text(text: str) -> str:
    """SHA-256 of a text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def plan(
    model: Backend, wanted: Mapping[str, Case], stored: Collection[str], store: PlanStore, batch_size: int
) -> list[list[Case]]:
    """The batches that answer every case of `wanted` that is not in `stored`.

    How a batch is put together shows in the last digits of its logits. A batch that an earlier run planned and did not
    finish is therefore repeated whole; only what no such batch has is planned anew, and recorded before it begins.
    A case that is stored is never part of a new batch.

    Args:
        wanted: case id -> case, everything that is asked now.
        stored: case ids that have a response.
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
    """Batches of cases with equal settings, longest first, within `batch_size` sequences and the limits on tokens."""
    widths = {case.case_id: _width(model, case) for case in cases}

    def settings(case: Case) -> tuple[bool, int, tuple[str, ...]]:
        return case.scored, case.max_tokens, () if case.scored else case.task.generation.stop

    def sequences(case: Case) -> int:
        return max(1, len(case.item.choices)) if case.scored else 1

    batches: list[list[Case]] = []
    for case in sorted(cases, key=lambda c: (settings(c), -widths[c.case_id], c.case_id)):
        batch = batches[-1] if batches else []
        rows = sum(map(sequences, batch)) + sequences(case)
        tokens = SCORED_TOKENS_PER_BATCH if case.scored else TOKENS_PER_BATCH
        same = batch and settings(batch[0]) == settings(case)
        if same and rows <= batch_size and rows * widths[batch[0].case_id] <= tokens:
            batch.append(case)
        else:
            batches.append([case])
    return batches


def _width(model: Backend, case: Case) -> int:
    """Tokens of the prompt with the longest that may follow it."""
    if case.scored:
        longest = max(case.item.choices, key=len, default="")
        return model.count(case.item.prompt) + model.count(longest)
    return model.count(model.render(case.item.prompt)) + case.max_tokens
