"""A paper's table: its models, its rows, its published values and their source. It is read from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gldfusion.errors import InputError, did_you_mean
from gldfusion.recipe import Model, read_yaml, validate

KIND = "table"
"""value of the key `kind` by which a table is told from an experiment"""


class TableModel(Model):
    """A model of the table: where its checkpoint is, and the sizes from which `--plan` computes costs."""

    title: str
    hub: str = ""
    """name of its repository on the hub; empty: no checkpoint is public"""
    revision: str = "main"
    """commit or branch on the hub"""
    note: str = ""
    parameters: float = Field(gt=0)
    layers: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    """heads of keys and values, in each layer"""
    head_size: int = Field(gt=0)
    verbosity: float = Field(default=1.0, gt=0)
    """how many times as long as `TableRow.answer_tokens` its answers are expected to be"""


class TableRow(Model):
    """One row: a task, and what the paper says that each model scores."""

    task: str
    """name of a task, such as bbh/navigate"""
    published: dict[str, float]
    """model -> score in points, from 0 to 100"""
    items: int = Field(gt=0)
    """number of items of the task"""
    prompt_characters: int = Field(gt=0)
    """mean length of a prompt"""
    answer_tokens: int = Field(gt=0)
    """expected mean length of an answer"""


class Difference(Model):
    """A difference of two models that the table or its text speaks about."""

    title: str
    of: str
    minus: str


class TableClaim(Model):
    """A number in the text that should be a difference in the table."""

    quote: str
    row: str
    value: float
    difference: str
    """key of `Table.differences`: the difference that the text names"""


class EngineSpec(Model):
    """How the models are run."""

    backend: str
    dtype: str
    tensor_parallel: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    """most sequences at once"""


class Hardware(Model):
    """The machine that `--plan` assumes."""

    title: str
    memory: float = Field(gt=0)
    """bytes of one GPU"""
    bandwidth: float = Field(gt=0)
    """bytes per second from the memory of one GPU"""
    flops: float = Field(gt=0)
    """per second and GPU, at the data type of the engine"""
    bandwidth_share: float = Field(gt=0, le=1)
    """share of the bandwidth that decoding reaches"""
    flops_share: float = Field(gt=0, le=1)
    """share of the FLOPs that reading of prompts reaches"""
    start_seconds: float = Field(ge=0)
    """time to load one model"""
    characters_per_token: float = Field(gt=0)


class Table(Model):
    """A table of a paper."""

    kind: Literal["table"]
    name: str
    """name of the run; the default folder is runs/<name>"""
    title: str
    source: str
    """where the published values were read"""
    variant: str = "default"
    """prompt variant of every task"""
    max_tokens: int = Field(gt=0)
    """token limit of an answer"""
    graders: tuple[str, ...] = ()
    """keys of GRADERS; empty: all. The headline of each task is what is compared with the published value"""
    engine: EngineSpec
    models: dict[str, TableModel]
    rows: dict[str, TableRow]
    averages: dict[str, float] = Field(default_factory=dict)
    """model -> the average that the paper prints"""
    differences: dict[str, Difference] = Field(default_factory=dict)
    claims: tuple[TableClaim, ...] = ()
    notes: tuple[str, ...] = ()
    hardware: Hardware


def is_table(path: Path) -> bool:
    """Tells whether a YAML file is a table; other specs are experiments.

    Raises:
        InputError: the file cannot be read.
    """
    content = read_yaml(path, "spec")
    return isinstance(content, dict) and content.get("kind") == KIND


def load_table(path: Path) -> Table:
    """Reads a table.

    Raises:
        InputError: the file cannot be read, has an unknown key, lacks one, or names a model or row that it does not
            define.
    """
    table = validate(Table, read_yaml(path, "table"), str(path))
    for title, row in table.rows.items():
        _known(row.published, table.models, f"{path}: rows.{title}.published")
    _known(table.averages, table.models, f"{path}: averages")
    for name, difference in table.differences.items():
        _known((difference.of, difference.minus), table.models, f"{path}: differences.{name}")
    for claim in table.claims:
        _known((claim.row,), table.rows, f"{path}: claims")
        _known((claim.difference,), table.differences, f"{path}: claims")
    return table


def require_models(table: Table, names: Any) -> None:
    """Checks that every name is a model of the table.

    Raises:
        InputError: a name is unknown.
    """
    _known(names, table.models, f"table {table.name}")


def _known(names: Any, known: dict[str, Any], where: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(f'{where} has no "{name}"{did_you_mean(name, known)}\nknown: {", ".join(known)}')
