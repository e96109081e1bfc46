"""The data of the harness: frozen dataclasses, and nothing that needs torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "no_answer", "truncated", "timeout", "error", "skipped"]


@dataclass(frozen=True)
class Environment:
    """Where numbers were made. `env_id` hashes everything but `commit` and `dirty`."""

    python: str
    packages: dict[str, str]
    device: str
    driver: str | None
    cpu: str
    threads: dict[str, int]
    env_id: str
    commit: str | None
    dirty: bool | None


@dataclass(frozen=True)
class Task:
    """A benchmark as its folder in tasks/ describes it."""

    name: str
    version: int
    dataset: dict[str, Any]
    """kind (file | procedural), file, source, revision, sha256, count, split, licence"""
    prompt: str
    scorer: str
    citation: str
    generation: dict[str, Any] = field(default_factory=dict)
    """max_tokens, stop"""
    headline: dict[str, str] = field(default_factory=dict)
    """grader, filter and metric of the number that is quoted first"""
    published: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """What is measured: a checkpoint, a loss or a solver."""

    name: str
    kind: Literal["checkpoint", "loss", "solver"]
    parameters: dict[str, Any]
    revision: str


@dataclass(frozen=True)
class Response:
    """One generated answer, stored once and graded many times."""

    case_id: str
    """hash of weights, task version, prompt, generation settings and chat template"""
    subject: str
    task: str
    item_id: str
    prompt_hash: str
    output: str
    prompt_tokens: int
    output_tokens: int
    truncated_prompt: bool
    """the prompt did not fit the context and lost its beginning"""
    truncated_output: bool
    """the token limit was reached before a stop string or the end token"""
    seconds: float


@dataclass(frozen=True)
class Row:
    """One measured value. Training logs use suite "training" and the step as `item`."""

    run_id: str
    env_id: str
    suite: str
    task: str
    task_version: int
    variant: str
    subject: str
    method: str
    world_seed: int
    seed: int
    item: str
    cluster: str
    grader: str
    filter: str
    metric: str
    value: float | None
    unit: str
    status: Status
    reason: str


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; `method` names how the interval was made."""

    value: float
    low: float
    high: float
    n: int
    method: str


@dataclass(frozen=True)
class Comparison:
    """candidate - baseline on the same items; p is None where the design supports no test."""

    baseline: str
    candidate: str
    difference: Estimate
    p: float | None
    correction: str | None
