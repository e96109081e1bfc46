"""What a kind of trial is, and how its trials are run. A trial is a function of the seed, its kind and its number."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Failures = Iterator[tuple[int, str]]
"""(number of a trial, what failed in it; "" where nothing did)"""


@dataclass(frozen=True)
class Kind:
    """One kind of trial."""

    summary: str
    """what a trial does, and what must hold, in one sentence"""
    trials: int
    """number of trials of the whole campaign"""
    short: int
    """number of trials of the short form; 0 leaves the kind out"""
    run: Callable[[Setting, Sequence[int]], Failures]
    """runs the trials with these numbers, in any order"""


@dataclass(frozen=True)
class Setting:
    """Where and how the trials of one kind run."""

    name: str
    """name of the kind"""
    folder: Path
    """an empty folder of their own"""
    shared: Path
    """a folder that all kinds share: of inputs and samples that are made once"""
    seed: int
    short: bool = False
    """the short form: only what needs no torch"""
    deadline: float = float("inf")
    """no trial starts after this moment of `time.monotonic`"""
    workers: int = 2
    """how many trials run at the same time"""
    facts: list[str] = field(default_factory=list)
    """what the kind has measured, in sentences for the report"""

    def random(self, number: int) -> random.Random:
        """The source of everything that is random in the trial with this number."""
        return random.Random(f"{self.seed}/{self.name}/{number}")

    def numbers(self, wanted: Sequence[int]) -> Iterator[int]:
        """The numbers, as long as there is time left."""
        for number in wanted:
            if time.monotonic() >= self.deadline:
                return
            yield number

    def each(self, trial: Callable[[int], str], wanted: Sequence[int]) -> Failures:
        """Runs trials in threads. An error of a trial is a failure of that trial, with its last lines."""

        def caught(number: int) -> tuple[int, str] | None:
            if time.monotonic() >= self.deadline:
                return None
            try:
                return number, trial(number)
            except Exception:  # the campaign goes on, and the table names the failure
                return number, "the trial itself broke: " + " | ".join(traceback.format_exc().splitlines()[-4:])

        with ThreadPoolExecutor(self.workers) as pool:
            for done in as_completed([pool.submit(caught, number) for number in wanted]):
                if (result := done.result()) is not None:
                    yield result


@dataclass(frozen=True)
class Failure:
    """A trial that failed, with what is needed to run it again."""

    trial: int
    what: str
    replay: str
    """the command that runs this trial alone"""


@dataclass(frozen=True)
class Result:
    """The trials of one kind."""

    kind: str
    summary: str
    planned: int
    trials: int
    failures: tuple[Failure, ...]
    seconds: float
    facts: tuple[str, ...] = ()
    """what was measured beside"""

    @property
    def passed(self) -> bool:
        """Whether all planned trials ran and none failed."""
        return not self.failures and self.trials >= self.planned


def replay(kind: str, trial: int, seed: int) -> str:
    """The command that runs one trial alone."""
    return f"python -m tests.campaign --seed {seed} --only {kind} --trial {trial}"


def run_kind(kind: Kind, setting: Setting, wanted: Sequence[int], tell: Callable[[int, int], None]) -> Result:
    """Runs trials of one kind.

    Args:
        kind: the kind.
        setting: where and how.
        wanted: the numbers of the trials.
        tell: called with (trials done, failures) after each trial.
    """
    started, done, failures = time.monotonic(), 0, []
    for number, what in _guarded(kind.run(setting, wanted)):
        if number >= 0:
            done += 1
        if what:
            failures.append(Failure(number, what, replay(setting.name, number, setting.seed)))
        tell(done, len(failures))
    return Result(
        kind=setting.name,
        summary=kind.summary,
        planned=len(wanted),
        trials=done,
        failures=tuple(sorted(failures, key=lambda failure: failure.trial)),
        seconds=time.monotonic() - started,
        facts=tuple(setting.facts),
    )


def _guarded(found: Iterable[tuple[int, str]]) -> Failures:
    """The same, where an error of the preparation of a kind becomes a failure with the number -1."""
    try:
        yield from found
    except Exception:
        yield -1, "the preparation broke: " + " | ".join(traceback.format_exc().splitlines()[-4:])


def as_json(result: Result) -> dict[str, Any]:
    """The result as JSON types."""
    return {
        "kind": result.kind,
        "summary": result.summary,
        "planned": result.planned,
        "trials": result.trials,
        "failed": len(result.failures),
        "seconds": round(result.seconds, 1),
        "facts": list(result.facts),
        "failures": [vars(failure) for failure in result.failures],
    }
