"""What a claim of the paper is, and what judging it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gldbench.claims.evidence import Evidence

Verdict = Literal["holds", "fails", "vacuous", "undecided"]


@dataclass(frozen=True)
class Finding:
    """What was measured about a claim, and the verdict that follows from it."""

    measured: str
    """the figures, in a sentence for a reader"""
    verdict: Verdict


@dataclass(frozen=True)
class Claim:
    """A claim, and the function that judges it. The verdict depends on stored rows and on nothing else."""

    source: str
    """where the claim stands, and what it says"""
    test: str
    """what is computed, from which rows"""
    decides: str
    """which figure leads to which verdict"""
    judge: Callable[[Evidence], Finding]


def undecided(missing: str, command: str) -> Finding:
    """The finding where rows are missing.

    Args:
        missing: what there are no rows of.
        command: the command that makes them.
    """
    return Finding(f"There are no rows of {missing}. This command makes them: {command}", "undecided")
