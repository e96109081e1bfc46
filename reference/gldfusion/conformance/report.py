"""Runs all checks on one loss."""

from __future__ import annotations

from dataclasses import dataclass

from gldfusion.conformance.checks import CHECKS, CheckError, Subject, applies


@dataclass(frozen=True)
class Result:
    """The result of one check of one loss."""

    loss: str
    check: str
    passed: bool | None
    """None if the check does not apply to a loss of this kind"""
    seen: str = ""
    """what went wrong, if the check failed"""


def conformance(subject: Subject) -> list[Result]:
    """Runs every check on a loss, in the order of CHECKS."""
    return [_result(subject, name) for name in CHECKS]


def _result(subject: Subject, name: str) -> Result:
    if not applies(name, subject):
        return Result(subject.name, name, None)
    try:
        CHECKS[name](subject)
    except CheckError as failed:
        return Result(subject.name, name, False, str(failed))
    return Result(subject.name, name, True)
