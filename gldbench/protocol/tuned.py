"""What was chosen on the validation set: the file tuning.json of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gldbench.protocol.arms import Choice
from gldfusion.errors import InputError
from gldfusion.files import write_json
from gldfusion.manifest import change_manifest, verify_manifest
from gldfusion.reading import one_line, read_object

TUNING = "tuning.json"
RULE = "highest mean score on the validation set; of equal ones the smallest weight"


@dataclass(frozen=True)
class Trial:
    """One setting of one method, with its scores on the validation set."""

    method: str
    weight: float | None
    """tuned weight of the method's own terms; None if the trial is about the learning rate"""
    learning_rate: float | None
    """None: that of the spec"""
    options: Mapping[str, Any]
    """options of the method's own terms that were chosen among several"""
    scores: tuple[float, ...]
    """chance-corrected mean over families, for each world and seed of the tuning"""
    chosen: bool

    @property
    def mean(self) -> float:
        """The mean over worlds and seeds, rounded so that equal scores stay equal."""
        return round(sum(self.scores) / len(self.scores), 12)


@dataclass(frozen=True)
class Tuning:
    """What was chosen, and all trials that it was chosen from."""

    learning_rate: float | None
    """of all methods; None: it was not tuned"""
    choices: Mapping[str, Choice]
    """method -> what was chosen for it"""
    trials: tuple[Trial, ...]
    rule: str = RULE


def write_tuning(run: Path, tuning: Tuning) -> None:
    """Writes tuning.json into the folder of a run."""
    write_json(run / TUNING, dataclasses.asdict(tuning))
    change_manifest(run, add=[TUNING])


def read_tuning(run: Path) -> Tuning | None:
    """Reads tuning.json of a run; None if there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = run / TUNING
    if not path.is_file():
        return None
    mend = "delete this file and run the same command again: it is made again from the stored trials"
    verify_manifest(run, "run", mend, [TUNING])
    try:
        return TypeAdapter(Tuning).validate_python(read_object(path, "tuning of a run", mend))
    except ValidationError as error:
        first = error.errors()[0]
        where = one_line(".".join(map(str, first["loc"])), 80)
        raise InputError(f"{path} is damaged: {where}: {one_line(first['msg'], 200)}\n{mend}") from None


def take_tuning(run: Path, other: Path, methods: Collection[str]) -> Tuning:
    """Takes over what another run chose for these methods, and writes it into the folder of a run.

    Args:
        run: the run that uses the weights.
        other: the run that chose them.
        methods: the methods whose weights are needed.

    Raises:
        InputError: the other run has chosen nothing yet, or nothing for one of the methods.
    """
    found = read_tuning(other)
    if found is None:
        raise InputError(f"{other} has no {TUNING}, from which this spec takes its weights\nrun that comparison first")
    if missing := sorted(set(methods) - found.choices.keys()):
        raise InputError(
            f"{other / TUNING} has no weight for {missing[0]}\nadd the method to that comparison, or leave it out here"
        )
    trials = tuple(trial for trial in found.trials if trial.method in methods)
    taken = Tuning(
        None, {method: found.choices[method] for method in methods}, trials, f"{found.rule}, in {other.name}"
    )
    write_tuning(run, taken)
    return taken
