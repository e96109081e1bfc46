"""Mixes: models that are made at decoding time from the logits of several checkpoints.

A mix is a folder whose `mix.json` names these checkpoints, its parts: by paths relative to the folder, and with their
hashes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from gldfusion.checkpoint import require_intact
from gldfusion.errors import InputError
from gldfusion.files import write_json
from gldfusion.hashes import hash_checkpoint
from gldfusion.reading import one_line, read_json
from gldfusion.recipe import Model, validate

FILE = "mix.json"
AGAIN = "make the mix again, with the checkpoints in their places"


class Part(Model):
    """A checkpoint of a mix."""

    path: str
    """relative to the folder of the mix"""
    hash: str
    """SHA-256 over its files"""


class Expert(Model):
    """A fine-tuned model and the model that it was fine-tuned from."""

    tuned: Part
    base: Part


class Mix(Model):
    """The content of `mix.json`."""

    mix: Literal[1] = 1
    """version of the format"""
    method: Literal["dynamic_logits_fusion"]
    pivot: Part
    """the model whose logits are shifted; its tokenizer and chat template are those of the mix"""
    experts: tuple[Expert, ...] = Field(min_length=1)
    alphas: tuple[float, ...] = Field(min_length=1)
    """the factors above 0 that are tried for each expert at each step"""
    one_at_a_time: bool = False
    """whether only one expert acts at each step"""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every checkpoint once, the pivot first."""
        experts = (part for expert in self.experts for part in (expert.tuned, expert.base))
        return tuple({part.path: part for part in (self.pivot, *experts)}.values())


def is_mix(path: Path) -> bool:
    """Whether a folder is a mix, and no ordinary checkpoint."""
    return (path / FILE).exists()


def part_of(folder: Path, checkpoint: Path) -> Part:
    """The entry of a checkpoint in the `mix.json` of a folder."""
    return Part(path=os.path.relpath(checkpoint.resolve(), folder.resolve()), hash=hash_checkpoint(checkpoint))


def write_mix(folder: Path, mix: Mix) -> None:
    """Writes `mix.json` into a folder."""
    write_json(folder / FILE, mix.model_dump(mode="json"))


def read_mix(folder: Path) -> Mix:
    """Reads the `mix.json` of a folder.

    Raises:
        InputError: the file is damaged or has another form, or a part is missing or is a mix itself.
    """
    require_intact(folder, (FILE,))
    mix = validate(Mix, read_json(folder / FILE, "mix", AGAIN), str(folder / FILE))
    for part in mix.parts:
        shown = one_line(part.path, 200)
        if not _is_folder(folder / part.path):
            raise InputError(f"{folder / FILE} names the checkpoint {shown}, which is not there\n{AGAIN}")
        if is_mix(folder / part.path):
            raise InputError(f"{folder / FILE} names {shown}, which is a mix itself\nmix ordinary checkpoints")
    return mix


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # the name is too long, or holds a null character
        return False


def require_unchanged(folder: Path, mix: Mix) -> None:
    """Reads every part of a mix, and checks that it is the checkpoint that the mix was made from.

    Raises:
        InputError: a part has changed.
    """
    for part in mix.parts:
        path = folder / part.path
        if (found := hash_checkpoint(path)) != part.hash:
            raise InputError(
                f"{path} has changed since the mix {folder} was made: expected the hash {part.hash[:8]}, "
                f"found {found[:8]}\n{AGAIN}"
            )
