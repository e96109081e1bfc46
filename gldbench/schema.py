"""The data of the harness: frozen dataclasses, and nothing that needs torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

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


class _Strict:
    """Records that are read from YAML: pydantic refuses keys that are not fields."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class HubSource(_Strict):
    """How `--data hub` reaches a file's rows: arguments of `datasets.load_dataset`.

    `{subtask}` in `name` and `data_files` stands for each subtask in turn.
    """

    path: str
    split: str
    fields: dict[str, str]
    """field of our row -> column there, in the order of the file's fields"""
    name: str | None = None
    revision: str | None = None
    data_files: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exemplars(_Strict):
    """Worked examples, one row per subtask; the row's `text` fills the prompt's field `_hint`."""

    file: str
    sha256: str
    count: int
    text: str
    """field that holds the examples"""
    after: str = ""
    """the examples begin after this line (a canary line stands before it)"""
    hub: HubSource | None = None


@dataclass(frozen=True)
class Dataset(_Strict):
    """Where a task's items come from. Checksums are of the uncompressed file."""

    kind: Literal["file", "procedural"]
    licence: str
    file: str | None = None
    """path below the data folder; `<file>.gz` is read where `<file>` is not there"""
    split: str = ""
    source: str = ""
    revision: str = ""
    sha256: str = ""
    count: int = 0
    target: str = "target"
    """field of the gold answer"""
    target_pattern: str | None = None
    """group 1 is the gold answer inside that field"""
    target_without: str = ""
    """characters that are taken out of the gold answer"""
    subtask: str | None = None
    """field that names the subtask of a row"""
    hub: HubSource | None = None
    family: str | None = None
    """the procedural family, of kind "procedural" """
    splits: dict[str, int] = field(default_factory=dict)
    """the procedural sets and their difficulties"""


@dataclass(frozen=True)
class Generation(_Strict):
    """How an answer is generated: greedily, until the end token, a stop string or `max_tokens`."""

    max_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Headline(_Strict):
    """The number that is quoted first."""

    grader: str
    filter: str
    metric: str


@dataclass(frozen=True)
class Variant(_Strict):
    """Another prompt of the same items."""

    prompt: str
    note: str = ""


@dataclass(frozen=True)
class Task(_Strict):
    """A benchmark as its folder in tasks/ describes it; `gldbench.tasks.load_task` reads it."""

    name: str
    """ "bbh", or "bbh/navigate" where one subtask was asked for"""
    version: int
    title: str
    dataset: Dataset
    prompt: str
    """`{field}` stands for a field of the row; every other brace is literal"""
    scorer: str
    """how an extracted answer is normalised and compared: a key of `evaluate.graders.scorers.SCORERS`"""
    answer_pattern: str | dict[str, str]
    """filter -> expression whose group 1 is the answer, last match; a lone expression is the filter "answer" """
    generation: Generation
    headline: Headline
    chance: float
    """score in [0, 1] of the best guess made without solving"""
    citation: str
    variants: dict[str, Variant] = field(default_factory=dict)
    exemplars: Exemplars | None = None
    subtasks: tuple[str, ...] = ()
    """all subtasks of the benchmark, in file order"""
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    """subtask -> model -> score in [0, 1]"""
    note: str = ""

    @property
    def benchmark(self) -> str:
        """The name without a subtask: what prompts and responses belong to."""
        return self.name.partition("/")[0]

    @property
    def subtask(self) -> str:
        """The one subtask that was asked for, or ""."""
        return self.name.partition("/")[2]

    @property
    def patterns(self) -> dict[str, str]:
        """filter -> regular expression."""
        return {"answer": self.answer_pattern} if isinstance(self.answer_pattern, str) else self.answer_pattern


@dataclass(frozen=True)
class Item:
    """One question of a task, ready to be asked and graded."""

    task: str
    """name of the task it was loaded for"""
    variant: str
    item_id: str
    prompt: str
    target: str
    cluster: str
    """the subtask, passage or family it shares with other items; its own id where there is none"""
    tests: tuple[tuple[Any, Any], ...] = ()
    """(input, expected output) pairs, where the answer is code"""
    entry: str = ""
    """name of the function that the code has to define"""


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
