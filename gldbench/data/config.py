"""The configuration of `gldbench data prepare`: which texts, how many of them, and what is taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from gldfusion.errors import InputError
from gldfusion.recipe import DataPart, Model, validate
from gldfusion.yaml_reader import read_yaml


class FailedBy(Model):
    """Keeps the examples with code that a model gets wrong at least once."""

    checkpoint: Path
    """folder of the model"""
    generations: int = Field(default=5, gt=0)
    """answers to each prompt"""
    temperature: float = Field(default=1.0, gt=0)
    """what the logits are divided by when an answer is drawn"""
    max_tokens: int = Field(default=2048, gt=0)
    """token limit of an answer"""
    tests: str = "test"
    """field of a record with a Python module of tests, which imports from `solution`"""
    solution: str = "solution"
    """field of a record with a right program. A record whose own program fails its tests is left out"""


class PreparedPart(DataPart):
    """One part of the prepared data."""

    take: int | None = Field(default=None, gt=0)
    """how many examples to draw; without it all"""
    failed_by: FailedBy | None = None


class Decontamination(Model):
    """Removes examples that share a run of words with an item of a benchmark."""

    tasks: str = "paper11"
    """names of benchmarks, separated by commas"""
    n: int = Field(default=13, ge=2)
    """words in a run"""
    shortest: int = Field(default=8, ge=2)
    """a text of an item with fewer than n words counts as one run if it has at least so many"""


class Preparation(Model):
    """The configuration."""

    name: str
    parts: tuple[PreparedPart, ...] = Field(min_length=1)
    seed: int = 0
    """seed of all draws"""
    decontaminate: Decontamination | None = Decontamination()
    """null turns it off"""


def load_preparation(path: Path) -> Preparation:
    """Reads a configuration. Relative paths in it are taken relative to its folder.

    Raises:
        InputError: the file is missing, is not YAML, has a wrong key or value, or names files that do not exist.
    """
    given = validate(Preparation, read_yaml(path, "configuration"), str(path))
    base = path.resolve().parent
    parts = []
    for part in given.parts:
        if part.weight is not None:
            raise InputError(f"{path}: part {part.name} has a weight\nsay how many examples to take with `take`")
        changes: dict[str, Any] = {} if part.path is None else {"path": base / part.path}
        if part.failed_by is not None:
            own = part.failed_by
            changes["failed_by"] = own.model_copy(update={"checkpoint": base / own.checkpoint})
        parts.append(part.model_copy(update=changes))
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: every part needs a name of its own, got {', '.join(names)}\nrename a file")
    return given.model_copy(update={"parts": tuple(parts)})
