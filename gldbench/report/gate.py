"""The world gate and the checks of the families, with their thresholds.

Methods can be compared only in a world where a signal that is known to help does help, and where a broken signal does
not. The gate checks both in each world.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gldbench.report import names
from gldbench.stats import PairedDifference

CAN = "this world can discriminate"
CANNOT = "this world cannot discriminate"
MARGIN = 0.05
"""A positive control must exceed the mean score of sft by at least this share, and the negative control must not."""
FARTHEST = 0.2
"""The negative control must stay within this share of the mean score of sft: a broken method proves nothing."""
PIVOT_RANGE = (0.05, 0.6)
"""range in which the chance-corrected score of the pivot should lie in every family"""
LEAST_MOVE = 0.05
"""share by which sft should raise the mean score of the pivot: otherwise its training is too short, or too weak"""
SPECIALIST_MINIMUM = 0.7
"""chance-corrected score that a source should reach in each of its own families"""
CEILING = 0.95
"""A family where sft exceeds this chance-corrected score is dropped before methods are compared."""
ROUNDING = 1e-9
"""A value this close to a threshold counts as equal to it: scores are quotients of counts, so the rest is rounding."""

Role = Literal["same_vocabulary", "across", "shuffled"]
ROLES: dict[Role, str] = {
    "same_vocabulary": "the positive control",
    "across": "the positive control across vocabularies",
    "shuffled": "the negative control",
}
"""key of `gates` in a spec -> what the method is called"""


@dataclass(frozen=True)
class Control:
    """One control of the gate in one world."""

    role: Role
    method: str
    difference: PairedDifference | None
    """the control compared with sft; None if there is nothing to compare"""
    reason: str
    """why the control is not met; empty if it is"""


@dataclass(frozen=True)
class WorldGate:
    """Whether one world can tell methods that help from methods that do not."""

    world: int
    controls: tuple[Control, ...]

    @property
    def passes(self) -> bool:
        """Whether all controls are met."""
        return bool(self.controls) and not any(control.reason for control in self.controls)


@dataclass(frozen=True)
class Gate:
    """The gates of all worlds of a run."""

    worlds: tuple[WorldGate, ...]

    @property
    def passing(self) -> tuple[int, ...]:
        """The worlds that pass: methods are compared in these."""
        return tuple(world.world for world in self.worlds if world.passes)

    @property
    def passes(self) -> bool:
        """Whether methods can be compared in any world."""
        return bool(self.passing)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why worlds fail; empty if all pass."""
        several = len(self.worlds) > 1
        if not any(world.controls for world in self.worlds):
            return ("the spec names no control for the world gate",)
        return tuple(
            control.reason + (f" in world {world.world}" if several else "")
            for world in self.worlds
            for control in world.controls
            if control.reason
        )

    @property
    def verdict(self) -> str:
        """The words that the report prints."""
        if len(self.worlds) < 2:
            return CAN if self.passes else CANNOT
        return f"{len(self.passing)} of {len(self.worlds)} worlds can discriminate"


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


def world_gate(world: int, methods: Mapping[Role, str], differences: Mapping[str, PairedDifference]) -> WorldGate:
    """Judges the gate of one world.

    Args:
        world: seed of the world.
        methods: role -> the method that plays it.
        differences: by method, its difference to sft in this world. A control that is missing here is not met.
    """
    controls = [
        Control(role, method, differences.get(method), _reason(role, method, differences.get(method)))
        for role, method in methods.items()
    ]
    return WorldGate(world, tuple(controls))


def _reason(role: Role, method: str, difference: PairedDifference | None) -> str:
    """Why a control is not met; empty if it is."""
    name = f"{ROLES[role]} {method}"
    if difference is None:
        return f"{name} could not be compared with {names.BASELINE}: no seed in common, or no family is left"
    estimate, margin = difference.comparison.difference, 100 * MARGIN
    if role == "shuffled":
        if estimate.value >= MARGIN - ROUNDING:
            return f"{name} scores {margin:g} points or more above {names.BASELINE}"
        if estimate.low > 0:
            return f"{name} scores above {names.BASELINE}: so does its whole interval"
        if estimate.value < -FARTHEST - ROUNDING:
            return f"{name} scores more than {100 * FARTHEST:g} points below {names.BASELINE}"
        return ""
    if estimate.value < MARGIN - ROUNDING:
        return f"{name} scores less than {margin:g} points above {names.BASELINE}"
    if estimate.low <= 0:
        return f"{name} may be no better than {names.BASELINE}: the interval of its difference holds zero"
    return ""


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
