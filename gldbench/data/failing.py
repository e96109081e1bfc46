"""Keeps the code examples that a model gets wrong at least once: it answers several times, and the sandbox runs tests.

The answers come from `gldbench.generate`, drawn at random. They are stored as soon as they are there, so a killed run
repeats at most one batch. A record whose own program fails its tests is left out: its tests say nothing about a model.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gldbench.data.config import FailedBy
from gldbench.generate.backend import Sampling
from gldbench.generate.checkpoint import open_checkpoint
from gldbench.generate.generate import responses_for
from gldbench.grade.programs.extract import find_program
from gldbench.sandbox import Program, run_programs
from gldbench.schema import Dataset, Generation, Headline, Item, Task
from gldbench.store import Store
from gldfusion.errors import InputError
from gldfusion.progress import Progress
from gldfusion.sources import Example

ENTRY = "gldbench_run_tests"
SETUP = f"""
import sys
sys.modules["solution"] = sys.modules[__name__]
{{tests}}

def {ENTRY}():
    for name, test in list(globals().items()):
        if name.startswith("test") and callable(test):
            test()
    return True
"""
"""what runs after a program, in its module: tests import the program as `solution`"""


@dataclass(frozen=True)
class Code:
    """One record with code."""

    example: Example
    entry: str
    """name of the function that the tests call"""
    solution: str
    tests: str


@dataclass
class Filtered:
    """What became of the records."""

    counts: Counter[str] = field(default_factory=Counter)
    """"kept", "solved" (all answers were right), "solution fails", "no tests" """


def code_of(example: Example, record: Mapping[str, Any], settings: FailedBy) -> Code | None:
    """Reads the code of a record. None: no test uses a function that the program of the record defines.

    Raises:
        InputError: a field is missing or no text.
    """
    for name in (settings.tests, settings.solution):
        if not isinstance(record.get(name), str):
            raise InputError(
                f"example {example.id} has no text {name!r}, which `failed_by` needs\n"
                "name the fields with its keys `tests` and `solution`"
            )
    tests, solution = record[settings.tests], record[settings.solution]
    try:
        defined = [n.name for n in ast.parse(solution).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        used = {node.id for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    entry = next((name for name in defined if name in used), None)
    return None if entry is None else Code(example, entry, solution, tests)


class Filter:
    """The filter of one part."""

    def __init__(self, settings: FailedBy, store: Store, seed: int, backend: str = "hf") -> None:
        """Opens the checkpoint.

        Args:
            settings: the model and how it answers.
            store: where answers are kept.
            seed: seed of the draws.
            backend: a key of `generate.BACKENDS`.

        Raises:
            InputError: the checkpoint cannot be used.
        """
        self.settings, self.store, self.backend = settings, store, backend
        self.checkpoint = open_checkpoint(settings.checkpoint)
        self.samplings = [Sampling(settings.temperature, seed + number) for number in range(settings.generations)]
        self.filtered = Filtered()

    def failing(
        self, records: Sequence[tuple[Example, Mapping[str, Any]]], progress: Progress | None = None
    ) -> list[Example]:
        """The examples that the model got wrong at least once, in their order.

        Args:
            records: examples with their records.
            progress: called with (answers that are there, answers in all).
        """
        counts = self.filtered.counts
        found = [code for code in (code_of(e, record, self.settings) for e, record in records) if code is not None]
        counts["no tests"] += len(records) - len(found)
        sound = [code for code, right in zip(found, _right(found, [c.solution for c in found]), strict=True) if right]
        counts["solution fails"] += len(found) - len(sound)
        items = [_item(code) for code in sound]
        answered = responses_for(
            self.checkpoint,
            [(self._task(), items)],
            self.store,
            subject=self.checkpoint.name,
            backend=self.backend,
            samplings=self.samplings,
            progress=progress,
        )
        asked = sound * len(self.samplings)  # in the order of the answers
        programs = [find_program(r.output, c.entry) or "" for r, c in zip(answered.responses, asked, strict=True)]
        failures: Counter[bytes] = Counter()
        for code, right in zip(asked, _right(asked, programs), strict=True):
            failures[code.example.key] += not right
        kept = [code.example for code in sound if failures[code.example.key]]
        counts["kept"] += len(kept)
        counts["solved"] += len(sound) - len(kept)
        return kept

    def _task(self) -> Task:
        return Task(
            name="failed_by",
            version=1,
            title="",
            dataset=Dataset(kind="procedural", licence=""),
            prompt="",
            scorer="",
            generation=Generation(self.settings.max_tokens),
            headline=Headline("", "", ""),
            chance=0.0,
            citation="",
        )


def _item(code: Code) -> Item:
    example = code.example
    return Item("failed_by", "default", example.id, example.prompt, "", example.id, entry=code.entry)


def _right(codes: Sequence[Code], programs: Sequence[str]) -> list[bool]:
    """Whether each program passes the tests of its record."""
    given = [
        Program(program, ENTRY, ((),), setup=SETUP.format(tests=code.tests.replace("\0", "")))
        for code, program in zip(codes, programs, strict=True)
    ]
    return [all(result.answered) for result in run_programs(given)]
