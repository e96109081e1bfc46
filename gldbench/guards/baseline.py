"""The result of a guard, and the comparison of values with a baseline file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from gldbench.console import print_rows
from gldbench.env import environment
from gldbench.schema import Environment
from gldfusion.errors import InputError
from gldfusion.files import write_json
from gldfusion.reading import one_line, read_object

Values = Mapping[str, Mapping[str, float]]
"""case -> name -> value"""
FORMAT = 1
VALUE_TOLERANCE = 1e-9
"""relative tolerance: allows for the rounding of another BLAS library, and not for more"""


@dataclass(frozen=True)
class Move:
    """A number that differs from the baseline."""

    case: str
    """the input, such as a family of problems or a loss with its options"""
    subject: str
    """the number, such as a solver or "gradient" """
    what: str
    """"value", "ratio" (of two times), "seconds" or "new" (not in the baseline)"""
    before: float | None
    now: float | None
    limit: str
    """the allowed difference"""

    def cells(self) -> tuple[str, ...]:
        """The cells of a table row: case, subject, what, before, now, limit."""
        form = "{:.12g}" if self.what == "value" else "{:.3g}"
        shown = ("–" if x is None else form.format(x) for x in (self.before, self.now))
        return (self.case, self.subject, self.what, *shown, self.limit)


@dataclass(frozen=True)
class CheckResult:
    """The numbers that moved, and notes on the comparison."""

    moves: tuple[Move, ...]
    compared: int
    """how many numbers were compared"""
    notes: tuple[str, ...]
    new: tuple[Move, ...] = ()
    """the numbers that the baseline does not hold; they are not compared, and do not fail"""
    inconclusive: tuple[Move, ...] = ()
    """the speeds that look worse while the machine is busy; they do not fail"""

    @property
    def passed(self) -> bool:
        """Whether no number moved."""
        return not self.moves


def equal_values(before: float | None, now: float | None, absolute: float) -> bool:
    """Whether two values differ by at most `VALUE_TOLERANCE` (relative) plus `absolute`. None equals no value."""
    if before is None or now is None:
        return False
    return abs(now - before) <= VALUE_TOLERANCE * abs(before) + absolute


def moved_values(values: Values, expected: Values, absolute: float) -> tuple[list[Move], list[Move], int]:
    """Compares values with expected ones.

    Args:
        values: the values of this run.
        expected: the values of the baseline.
        absolute: absolute tolerance, in addition to `VALUE_TOLERANCE`.

    Returns:
        The moves (a value that is only in the baseline is a move), the new values, and the number of expected values.
    """
    moves, fresh = [], []
    for case in dict.fromkeys([*expected, *values]):
        old, new = expected.get(case, {}), values.get(case, {})
        for name in dict.fromkeys([*old, *new]):
            if name not in old:
                fresh.append(
                    Move(case=case, subject=name, what="new", before=None, now=new[name], limit="not in the baseline")
                )
            elif not equal_values(old[name], new.get(name), absolute):
                moves.append(
                    Move(
                        case=case,
                        subject=name,
                        what="value",
                        before=old[name],
                        now=new.get(name),
                        limit=f"± {VALUE_TOLERANCE:g}",
                    )
                )
    return moves, fresh, sum(map(len, expected.values()))


def check_values(values: Values, baseline: Path, update: bool, absolute: float) -> CheckResult:
    """Compares values with those of a baseline file, or overwrites the file.

    Args:
        values: the values of this run.
        baseline: the baseline file.
        update: overwrite the file instead of comparing.
        absolute: absolute tolerance, in addition to `VALUE_TOLERANCE`.

    Raises:
        InputError: there is no baseline, or it has another format.
    """
    env = environment(1, 1)
    if update:
        write_json(baseline, {"format": FORMAT, "environment": dataclasses.asdict(env), "values": values})
        return CheckResult((), 0, (f"wrote {baseline}",))
    before = read_baseline(baseline, {"format": FORMAT})
    moves, fresh, compared = moved_values(values, before["values"], absolute)
    here = env.env_id == before["environment"]["env_id"]
    notes = () if here else (f"the baseline was made in another environment ({before['environment']['env_id']})",)
    return CheckResult(tuple(moves), compared, notes, tuple(fresh))


class _Baseline(BaseModel):
    """What a baseline file holds. Only the guard "gw" has ratios and seconds."""

    environment: Environment
    values: dict[str, dict[str, float | None]]
    ratios: dict[str, dict[str, float | None]] = {}
    seconds: dict[str, float] = {}


def read_baseline(path: Path, expected: Mapping[str, Any], needs: tuple[str, ...] = ("values",)) -> dict[str, Any]:
    """Reads a baseline file.

    Args:
        path: the file.
        expected: keys of the document, and the values that they must have.
        needs: the parts that it must have.

    Raises:
        InputError: there is no such file, or it is no such baseline.
    """
    document = read_object(path, "baseline", "create it with --update")
    if any(document.get(key) != value for key, value in expected.items()):
        wanted = ", ".join(f"{key} {value}" for key, value in expected.items())
        raise InputError(f"{path} is no baseline with {wanted}\noverwrite it with --update")
    for key in needs:
        if key not in document:
            raise InputError(f'{path} is no baseline: it has no "{key}"\noverwrite it with --update')
    try:
        _Baseline.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = one_line(".".join(map(str, first["loc"])), 120)
        raise InputError(f"{path} is no baseline: {where}: {first['msg']}\noverwrite it with --update") from None
    return document


def print_results(results: Mapping[str, CheckResult], as_json: bool) -> None:
    """Prints the numbers that moved, are new or inconclusive, or all results as one JSON document."""
    if as_json:
        found = {name: dataclasses.asdict(r) | {"passed": r.passed} for name, r in results.items()}
        print(json.dumps(found, indent=2, ensure_ascii=False, default=float))
        return
    for name, result in results.items():
        for note in result.notes:
            print(f"{name}: {note}")
        for heading, lines in (("", result.moves), ("new", result.new), ("inconclusive", result.inconclusive)):
            if lines:
                if heading:
                    print(f"{name}: {heading}")
                print_rows(("case", "subject", "what", "baseline", "now", "limit"), *(move.cells() for move in lines))
        if result.compared:
            print(f"{name}: {_verdict(result)}")


def _verdict(result: CheckResult) -> str:
    """How many numbers moved, and if there are any, how many are new or inconclusive."""
    text = f"{len(result.moves)} of {result.compared} numbers moved"
    if result.new:
        text += f", {len(result.new)} new (not in the baseline, add them with --update)"
    if result.inconclusive:
        text += f", {len(result.inconclusive)} inconclusive (the machine is busy, run the check again later)"
    return text
