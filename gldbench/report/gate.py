"""The world gate and the checks of the embedded world, with the thresholds they are read against.

A comparison means something only in a world where a known good signal helps and a known bad one does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gldbench.report import names
from gldbench.stats import PairedDifference

CAN = "this world can discriminate"
CANNOT = "this world cannot discriminate"
MARGIN = 0.05
"""The positive control must beat sft by this much of chance-corrected score, the negative control must not."""
PIVOT_RANGE = (0.05, 0.6)
SPECIALIST_MINIMUM = 0.7
CEILING = 0.95
"""A family where sft exceeds this chance-corrected score is dropped before methods are compared."""
ROUNDING = 1e-9
"""Scores are counts over counts: a value this near to a threshold is the threshold."""


@dataclass(frozen=True)
class Gate:
    """Whether the world can tell a good method from a bad one."""

    passes: bool
    positive: PairedDifference | None
    """KL to the same-vocabulary source against sft"""
    negative: PairedDifference | None
    """the same, from a source whose outputs are shuffled"""
    reasons: tuple[str, ...]
    """why the gate fails; empty when it passes"""

    @property
    def verdict(self) -> str:
        """The words that the report prints."""
        return CAN if self.passes else CANNOT


@dataclass(frozen=True)
class Check:
    """One family of the world, chance-corrected: is there room to learn, and a source to learn it from?"""

    family: str
    pivot: float | None
    pivot_in_range: bool | None
    specialists: dict[str, float]
    """the sources that declare the family, with their scores on it"""
    specialists_strong: bool | None
    """every specialist reaches `SPECIALIST_MINIMUM`; None where no source declares the family"""
    sft: float | None
    dropped: bool


def gate_of(differences: Mapping[str, PairedDifference]) -> Gate:
    """The gate from the differences to sft, keyed by method. A control without rows fails it."""
    positive, negative = differences.get(names.POSITIVE), differences.get(names.NEGATIVE)
    reasons = [
        f"{name} could not be compared with {names.BASELINE}: no rows on shared seeds and kept families"
        for name, difference in ((names.POSITIVE, positive), (names.NEGATIVE, negative))
        if difference is None
    ]
    if positive and not beats(positive):
        reasons.append(f"the positive control {names.POSITIVE} is not {100 * MARGIN:g} points above {names.BASELINE}")
    if negative and beats(negative):
        reasons.append(
            f"the negative control {names.NEGATIVE} is {100 * MARGIN:g} points or more above {names.BASELINE}"
        )
    return Gate(not reasons, positive, negative, tuple(reasons))


def beats(difference: PairedDifference) -> bool:
    """Whether the candidate is `MARGIN` or more above its baseline."""
    return difference.comparison.difference.value >= MARGIN - ROUNDING


def check_families(
    means: Mapping[str, Mapping[str, float]], declared: Mapping[str, tuple[str, ...]], families: tuple[str, ...]
) -> tuple[Check, ...]:
    """A check for each family; `means` holds method -> family -> chance-corrected mean."""
    low, high = PIVOT_RANGE
    checks = []
    for family in families:
        pivot, sft = (means[name][family] if name in means else None for name in ("pivot", names.BASELINE))
        specialists = {
            source: means[source][family] for source, own in declared.items() if family in own and source in means
        }
        checks.append(
            Check(
                family=family,
                pivot=pivot,
                pivot_in_range=None if pivot is None else low - ROUNDING <= pivot <= high + ROUNDING,
                specialists=specialists,
                specialists_strong=min(specialists.values()) >= SPECIALIST_MINIMUM - ROUNDING if specialists else None,
                sft=sft,
                dropped=sft is not None and sft > CEILING + ROUNDING,
            )
        )
    return tuple(checks)
