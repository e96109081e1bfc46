"""The data types of the harness. All are frozen dataclasses. This module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from gldbench.printable import printable, well_formed

Status = Literal["ok", "no_answer", "truncated", "timeout", "error", "skipped"]


@dataclass(frozen=True)
class Environment:
    """The environment in which numbers were made."""

    python: str
    packages: dict[str, str]
    """name -> version, of those packages that can change a number"""
    device: str
    """name of the GPU, or "cpu" """
    driver: str | None
    """version of the GPU driver"""
    cpu: str
    threads: dict[str, int]
    """"cores" of the machine, threads "per_worker", number of "workers" """
    env_id: str
    """hash of all fields but `commit` and `dirty`"""
    commit: str | None
    """commit of the code; None outside a git checkout"""
    dirty: bool | None
    """whether the checkout had uncommitted changes"""


class _Strict:
    """Base of types that are read from YAML. pydantic refuses keys that are not fields."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class HubSource(_Strict):
    """Where `--data hub` finds the rows of a data file: at a URL, or with `datasets.load_dataset`.

    `{subtask}` in `name` and `data_files` stands for each subtask in turn.
    """

    url: str = ""
    """address of the file at a fixed commit, compressed or not; a JSON list is read as lines"""
    path: str = ""
    """name of the data set for `load_dataset`, if there is no `url`"""
    split: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    """field of our row -> column of the data set, in the order of the fields in the file"""
    rows: str = ""
    """key of `tasks.data.HUB_ROWS`, if rows need more than renamed columns"""
    name: str | None = None
    revision: str | None = None
    data_files: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exemplars(_Strict):
    """Worked examples in a prompt: one text for each subtask if the rows name a subtask, else one for all items."""

    file: str
    sha256: str
    count: int
    """number of rows in the file"""
    text: str = ""
    """field of a row that holds a whole text of examples"""
    each: str = ""
    """template of one example, if a row is one example; filled in like the prompt of a task"""
    between: str = "\n\n"
    """text between two examples that `each` makes"""
    reader: str = ""
    """key of `tasks.readers.READERS` that makes the fields for `each`; empty: the fields of the row"""
    where: dict[str, tuple[str | int, ...]] = field(default_factory=dict)
    """field -> allowed values; rows with other values are not used. Rows keep the order of the file"""
    fills: str = "_hint"
    """field of the prompt that is replaced by the examples"""
    after: str = ""
    """the examples begin after this line of the text, because a canary line precedes it"""
    hub: HubSource | None = None


@dataclass(frozen=True)
class Dataset(_Strict):
    """The data of a task. Checksums refer to the uncompressed file."""

    kind: Literal["file", "procedural"]
    licence: str
    file: str | None = None
    """path below the data folder; if it does not exist, `<file>.gz` is read"""
    split: str = ""
    source: str = ""
    revision: str = ""
    sha256: str = ""
    count: int = 0
    """number of rows in the file"""
    target: str = "target"
    """field of the gold answer"""
    target_pattern: str | None = None
    """regular expression; group 1 is the gold answer inside that field"""
    target_without: str = ""
    """characters that are removed from the gold answer"""
    subtask: str | None = None
    """field that names the subtask of a row"""
    hub: HubSource | None = None
    family: str | None = None
    """the procedural family, if the kind is "procedural" """


@dataclass(frozen=True)
class Generation(_Strict):
    """How an answer is generated: with greedy decoding, until the end token, a stop string or `max_tokens`."""

    max_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Headline(_Strict):
    """Names the score that is quoted first: its grader, filter and metric."""

    grader: str
    filter: str
    metric: str


@dataclass(frozen=True)
class Variant(_Strict):
    """Another prompt for the same items."""

    prompt: str
    note: str = ""
    generation: Generation | None = None
    """if it differs from that of the task; `gldbench.tasks.asked_as` applies it"""
    exemplars: Exemplars | None = None
    """if they differ from those of the task"""


@dataclass(frozen=True)
class Task(_Strict):
    """A benchmark, as described by its folder in tasks/. `gldbench.tasks.load_task` reads it."""

    name: str
    """ "bbh", or "bbh/navigate" for one subtask"""
    version: int
    title: str
    dataset: Dataset
    prompt: str
    """`{field}` is replaced by a field of the row; all other braces are literal"""
    scorer: str
    """how our grader scores an output: key of `grade.judges.JUDGES`"""
    generation: Generation
    headline: Headline
    chance: float
    """score in [0, 1] of the best guess without solving the task"""
    citation: str
    answer_pattern: str | dict[str, str] = field(default_factory=dict)
    """filter -> regular expression; group 1 of its last match is the answer. A string alone is the filter "answer" """
    prompt_name: str = "default"
    """name of the variant in items and rows for `prompt`; it says how the prompt differs from that of the paper"""
    kind: Literal["generation", "loglikelihood"] = "generation"
    """"loglikelihood": the choices of an item are scored as continuations of the prompt, and nothing is generated"""
    reader: str = ""
    """key of `tasks.readers.READERS`, which makes prompt fields, golds and choices of a row; empty: the row as it is"""
    harness: str = ""
    """name of the lm-eval task whose filters and metrics the grader "lm_eval" applies; empty: there is none"""
    variants: dict[str, Variant] = field(default_factory=dict)
    exemplars: Exemplars | None = None
    subtasks: tuple[str, ...] = ()
    """all subtasks of the benchmark, in the order of the file"""
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    """subtask -> model -> score in [0, 1]"""
    note: str = ""

    @property
    def benchmark(self) -> str:
        """The name without a subtask. Prompts and responses belong to it."""
        return self.name.partition("/")[0]

    @property
    def subtask(self) -> str:
        """The subtask in the name, or ""."""
        return self.name.partition("/")[2]

    @property
    def patterns(self) -> dict[str, str]:
        """`answer_pattern` as a dictionary: filter -> regular expression."""
        return {"answer": self.answer_pattern} if isinstance(self.answer_pattern, str) else self.answer_pattern


@dataclass(frozen=True)
class Item:
    """One question of a task, with everything to ask and grade it."""

    task: str
    """name of the task for which it was loaded"""
    variant: str
    item_id: str
    prompt: str
    target: str
    cluster: str
    """the subtask, passage or family that it has in common with other items; its own id if there is none"""
    tests: tuple[tuple[Any, Any], ...] = ()
    """(input, expected output) pairs, if the answer is code"""
    entry: str = ""
    """name of the function that the code must define"""
    golds: tuple[str, ...] = ()
    """all accepted answers, if there are several; `target` is the first"""
    choices: tuple[str, ...] = ()
    """the options in the order of their letters. In a log-likelihood task: the continuations exactly as they follow the
    prompt, with the leading space"""
    record: Mapping[str, Any] = field(default_factory=dict)
    """row of the data file, for graders that need more than the golds"""
    subtask: str = ""
    """part of the benchmark, if there are several; `--limit` takes items from them in turn"""

    @property
    def gold(self) -> str:
        """The accepted answers for a reader, separated by " | "."""
        return " | ".join(self.golds or (self.target,))


@dataclass(frozen=True)
class Subject:
    """What is measured: a checkpoint, a loss or a solver."""

    name: str
    kind: Literal["checkpoint", "loss", "solver"]
    parameters: dict[str, Any]
    revision: str


@dataclass(frozen=True)
class Response:
    """One generated answer. It is stored once and can be graded many times."""

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
    """whether the beginning of the prompt was cut, because the prompt did not fit into the context"""
    truncated_output: bool
    """whether the answer was cut at the token limit, before a stop string or the end token"""
    seconds: float
    prompt: str = ""
    """the prompt before the chat template is applied; empty in responses of older versions"""
    gold: str = ""
    """the accepted answers, separated by " | "; empty in responses of older versions"""
    variant: str = ""
    """prompt variant of the first caller; empty in responses of older versions"""

    def __post_init__(self) -> None:
        """Replaces half surrogate pairs, with which no response of the same part file could be stored."""
        for name in ("output", "prompt", "gold"):
            object.__setattr__(self, name, well_formed(getattr(self, name)))


@dataclass(frozen=True)
class Row:
    """One measured value. Rows of training logs have the suite "training" and the step as `item`."""

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
    how: str = ""
    """how the answer was found: "boxed", "cue", "next_line", "json", "tag", "bare", "last_line", "fence" or "none".
    Empty where the grader does not tell, and in rows of older versions"""
    found: str = ""
    """the answer as the output writes it, shortened to `grade.rows.LONGEST_FOUND` characters"""
    grader_version: str = ""
    """rows of different versions of a grader do not compare"""
    remote_code: bool = False
    """code that the checkpoint brought was allowed to run when it was evaluated (--trust-remote-code)"""
    settings: str = ""
    """how the response was generated, as the JSON text of `generate.settings.Settings`. Empty where it is not known:
    in rows of older versions, of `gldbench run` and of `gldbench score`"""

    def __post_init__(self) -> None:
        """Cleans the texts that a model or its program may have chosen. Every row is made here."""
        for name in ("reason", "found"):
            object.__setattr__(self, name, printable(getattr(self, name)))


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval. `method` says how the interval was computed."""

    value: float
    low: float
    high: float
    n: int
    method: str


@dataclass(frozen=True)
class Comparison:
    """candidate - baseline on the same items. `p` is None if there are too few seeds for a test."""

    baseline: str
    candidate: str
    difference: Estimate
    p: float | None
    correction: str | None
