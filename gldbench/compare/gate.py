"""The regression gate: is B worse than A by more than a margin? PASS, WORSE or INCONCLUSIVE, from paired intervals."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from gldbench.compare.comparison import CheckpointComparison
from gldbench.schema import Estimate
from gldbench.stats import CONFIDENCE
from gldfusion.errors import InputError

Verdict = Literal["PASS", "WORSE", "INCONCLUSIVE"]
POWER = 0.8
"""chance with which `GateResult.detectable` would have been found"""
_Z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
_Z_POWER = float(stats.norm.ppf(POWER))


@dataclass(frozen=True)
class GateResult:
    """The verdict on one task, or on the mean over tasks."""

    name: str
    """name of the task; "mean of N tasks" for the mean"""
    verdict: Verdict
    difference: Estimate
    """B - A"""
    detectable: float
    """the smallest difference, in either direction, that this number of items would have shown in 4 of 5 cases"""
    items_needed: int | None
    """about how many items would show a difference of the size of the margin; None if the margin is 0"""


@dataclass(frozen=True)
class Gate:
    """The verdicts on all tasks, and the one that decides."""

    margin: float
    tasks: list[GateResult]
    overall: GateResult
    """the verdict on the mean over tasks; WORSE too if `sunk` is not empty"""
    sunk: list[str]
    """names of the tasks that are worse by more than the margin even after correction for the number of tasks"""


def gate(result: CheckpointComparison, margin: float) -> Gate:
    """Judges a comparison. The interval of B - A is compared with the margin m.

    - PASS: the whole interval is at or above -m, so B is not worse than A by more than m.
    - WORSE: the whole interval is below -m.
    - INCONCLUSIVE: -m lies inside the interval.

    One task that sinks fails the gate even if the mean over tasks does not show it. With many tasks, one of them can
    seem to sink by chance. Therefore such a task counts only if its interval is below -m after it was widened for the
    number of tasks (Bonferroni).

    Args:
        result: what `comparison.compare` returned.
        margin: the loss that is still accepted, as a share: 0.02 means two points.

    Raises:
        InputError: the margin is not in [0, 1).
    """
    if not 0 <= margin < 1:
        hint = f"for {margin:g} points write {margin / 100:g}" if margin >= 1 else "write 0.02 for two points"
        raise InputError(f"expected a margin of at least 0 and below 1, got {margin:g}\n{hint}")
    tasks = [_judge(item.task.name, item.pair.difference, margin) for item in result.tasks]
    wider = float(stats.norm.ppf(1 - (1 - CONFIDENCE) / 2 / len(tasks))) / _Z
    sunk = [own.name for own in tasks if _high(own.difference, wider) < -margin]
    name = f"mean of {len(result.averaged)} tasks" if len(result.averaged) > 1 else result.averaged[0]
    overall = _judge(name, result.macro.difference, margin)
    return Gate(margin, tasks, dataclasses.replace(overall, verdict="WORSE") if sunk else overall, sunk)


def _high(estimate: Estimate, factor: float) -> float:
    """The upper end of an interval whose upper half is longer by a factor."""
    return estimate.value + (estimate.high - estimate.value) * factor


def _judge(name: str, difference: Estimate, margin: float) -> GateResult:
    verdict: Verdict = "INCONCLUSIVE"
    if difference.low >= -margin:
        verdict = "PASS"
    elif difference.high < -margin:
        verdict = "WORSE"
    # half the interval is z standard errors; a test at the same level has the wanted power at z + z_power of them
    detectable = (difference.high - difference.low) / 2 * (_Z + _Z_POWER) / _Z
    needed = None if margin == 0 else math.ceil(difference.n * (detectable / margin) ** 2)
    return GateResult(name=name, verdict=verdict, difference=difference, detectable=detectable, items_needed=needed)
