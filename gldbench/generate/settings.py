"""How responses are generated, as far as it can change them: stored with every row, and compared before scores are."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from gldbench.generate.checkpoint import Checkpoint
from gldbench.generate.plan import answer_limit, hash_text
from gldbench.schema import Task
from gldfusion.templates import DATE


@dataclass(frozen=True)
class Settings:
    """Everything besides weights and prompt that the responses of one checkpoint to one task depend on."""

    decoding: str
    """"greedy" or "loglikelihood" """
    max_tokens: int
    """token limit of an answer"""
    stop: tuple[str, ...]
    """stop strings"""
    chat_template: str | None
    """first 12 digits of the SHA-256 of the chat template; None: prompts are given without a template"""
    date: str | None
    """the day that chat templates are told; None: prompts are given without a template"""
    backend: str
    """library that ran the model"""
    dtype: str
    """data type of the weights; "auto": as they are stored"""
    tensor_parallel: int
    """number of GPUs that share the model"""

    def as_text(self) -> str:
        """The settings as one line of JSON. Equal settings give equal texts."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def settings_of(task: Task, checkpoint: Checkpoint, backend: str) -> Settings:
    """Returns the settings under which a checkpoint is asked a task.

    Log-likelihoods depend neither on a token limit nor on stop strings, and no chat template is applied to them.

    Args:
        task: the task as it is asked.
        checkpoint: the checkpoint, with its engine.
        backend: a key of `generate.BACKENDS`.
    """
    scored = task.kind == "loglikelihood"
    template = None if scored else checkpoint.chat_template
    return Settings(
        decoding="loglikelihood" if scored else "greedy",
        max_tokens=0 if scored else answer_limit(task, checkpoint),
        stop=() if scored else task.generation.stop,
        chat_template=None if template is None else hash_text(template)[:12],
        date=None if template is None else DATE,
        backend=backend,
        dtype=checkpoint.engine.dtype,
        tensor_parallel=checkpoint.engine.tensor_parallel,
    )
