"""The world gate and the checks of the families, with their thresholds.

Methods can be compared only in a world where a signal that is known to help does help, and where a broken signal does
not. The gate checks both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gldbench.report import names
from gldbench.stats import PairedDifference

CAN = "this world can discriminate"
CANNOT = "this world cannot discriminate"
MARGIN = 0.05
"""The positive control must exceed the mean score of sft by at least this share; the negative control must not."""
PIVOT_RANGE = (0.05, 0.6)
"""range in which the chance-corrected score of the pivot should lie in every family"""
SPECIALIST_MINIMUM = 0.7
"""chance-corrected score that a source should reach in each of its own families"""
CEILING = 0.95
"""A family where sft exceeds this chance-corrected score is dropped before methods are compared."""
ROUNDING = 1e-9
"""A value this close to a threshold counts as equal to it: scores are quotients of counts, so the rest is rounding."""


@dataclass(frozen=True)
class Gate:
    """Whether this world can tell methods that help from methods that do not."""

    passes: bool
    positive: PairedDifference | None
    """sft with KL to the source that has the pivot's vocabulary, compared with sft"""
    negative: PairedDifference | None
    """the same method with shuffled source outputs, compared with sft"""
    reasons: tuple[str, ...]
    """why the gate fails; empty if it passes"""

    @property
    def verdict(self) -> str:
        """The words that the report prints."""
        return CAN if self.passes else CANNOT


@dataclass(frozen=True)
class Check:
    """Chance-corrected scores in one family: is there room to learn, and a source to learn from?"""

    family: str
    pivot: float | None
    pivot_in_range: bool | None
    specialists: dict[str, float]
    """the scores of the sources that have the family among their own"""
    specialists_strong: bool | None
    """whether all of these reach `SPECIALIST_MINIMUM`; None if no source has the family among its own"""
    sft: float | None
    dropped: bool


def gate_of(differences: Mapping[str, PairedDifference]) -> Gate:
    """Judges the world gate.

    Args:
        differences: by method, its difference to sft. The gate fails if a control is missing.
    """
    positive, negative = differences.get(names.POSITIVE), differences.get(names.NEGATIVE)
    reasons = [
        f"{name} could not be compared with {names.BASELINE}: they have no seed in common, or no family is left"
        for name, difference in ((names.POSITIVE, positive), (names.NEGATIVE, negative))
        if difference is None
    ]
    if positive and not beats(positive):
        reasons.append(
            f"the positive control {names.POSITIVE} scores less than {100 * MARGIN:g} points above {names.BASELINE}"
        )
    if negative and beats(negative):
        reasons.append(
            f"the negative control {names.NEGATIVE} scores {100 * MARGIN:g} points or more above {names.BASELINE}"
        )
    return Gate(not reasons, positive, negative, tuple(reasons))


def beats(difference: PairedDifference) -> bool:
    """Whether the candidate scores at least `MARGIN` above its baseline."""
    return difference.comparison.difference.value >= MARGIN - ROUNDING


def check_families(
    means: Mapping[str, Mapping[str, float]], declared: Mapping[str, tuple[str, ...]], families: tuple[str, ...]
) -> tuple[Check, ...]:
    """Checks each family.

    Args:
        means: method -> family -> chance-corrected mean.
        declared: source -> its own families.
        families: the families to check.
    """
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
