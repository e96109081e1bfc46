"""What a regression guard finds, and the guard of plain values: baseline file in, moved numbers out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gldbench.console import print_rows
from gldbench.env import environment
from gldfusion.errors import InputError
from gldfusion.files import require_file, write_json

Values = Mapping[str, Mapping[str, float]]
"""case -> name -> value"""
FORMAT = 1
VALUE_TOLERANCE = 1e-9
"""relative: rounding of another BLAS, no more"""


@dataclass(frozen=True)
class Move:
    """A number that is not what the baseline says."""

    case: str
    subject: str
    what: str
    """"value", "ratio", "seconds" or "missing" """
    before: float | None
    now: float | None
    limit: str

    def cells(self) -> tuple[str, ...]:
        """For a table: case, subject, what, before, now, limit."""
        form = "{:.12g}" if self.what == "value" else "{:.3g}"
        shown = ("–" if x is None else form.format(x) for x in (self.before, self.now))
        return (self.case, self.subject, self.what, *shown, self.limit)


@dataclass(frozen=True)
class CheckResult:
    """What moved, and what the comparison is worth."""

    moves: tuple[Move, ...]
    compared: int
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Nothing moved."""
        return not self.moves


def equal_values(before: float | None, now: float | None, absolute: float) -> bool:
    """Equal to rounding: relative `VALUE_TOLERANCE` plus `absolute`; a value that is not there equals nothing."""
    if before is None or now is None:
        return False
    return abs(now - before) <= VALUE_TOLERANCE * abs(before) + absolute


def moved_values(values: Values, expected: Values, absolute: float) -> tuple[list[Move], int]:
    """The values that are not as expected, new and vanished ones among them, and how many were compared."""
    moves = []
    for case in dict.fromkeys([*expected, *values]):
        old, new = expected.get(case, {}), values.get(case, {})
        for name in dict.fromkeys([*old, *new]):
            if name not in old:
                moves.append(Move(case, name, "missing", None, new[name], "not in the baseline"))
            elif not equal_values(old[name], new.get(name), absolute):
                moves.append(Move(case, name, "value", old[name], new.get(name), f"± {VALUE_TOLERANCE:g}"))
    return moves, sum(map(len, expected.values()))


def check_values(values: Values, baseline: Path, update: bool, absolute: float) -> CheckResult:
    """Compares values with those of a baseline file, or writes it anew.

    Raises:
        InputError: there is no baseline, or it is of another format.
    """
    env = environment(1, 1)
    if update:
        write_json(baseline, {"format": FORMAT, "environment": dataclasses.asdict(env), "values": values})
        return CheckResult((), 0, (f"wrote {baseline}",))
    before = read_baseline(baseline, {"format": FORMAT})
    moves, compared = moved_values(values, before["values"], absolute)
    here = env.env_id == before["environment"]["env_id"]
    notes = () if here else (f"the baseline is from another environment ({before['environment']['env_id']})",)
    return CheckResult(tuple(moves), compared, notes)


def read_baseline(path: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The document in `path`, whose keys `expected` must have these values; InputErrors say how to make one."""
    require_file(path, "baseline", "make one with --update")
    try:
        document = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is no baseline: {error}\nmake one with --update") from None
    if not isinstance(document, dict) or any(document.get(key) != value for key, value in expected.items()):
        wanted = ", ".join(f"{key} {value}" for key, value in expected.items())
        raise InputError(f"{path} is no baseline with {wanted}\nmake one with --update")
    return document


def print_results(results: Mapping[str, CheckResult], as_json: bool) -> None:
    """One table per guard that found something, or one JSON document."""
    if as_json:
        found = {name: dataclasses.asdict(r) | {"passed": r.passed} for name, r in results.items()}
        print(json.dumps(found, indent=2, ensure_ascii=False, default=float))
        return
    for name, result in results.items():
        for note in result.notes:
            print(f"{name}: {note}")
        if result.moves:
            print_rows(
                ("case", "subject", "what", "baseline", "now", "limit"), *(move.cells() for move in result.moves)
            )
        if result.compared:
            print(f"{name}: {len(result.moves)} of {result.compared} numbers moved")
