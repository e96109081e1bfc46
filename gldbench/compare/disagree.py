"""Compares graders on the same responses: how often two of them agree, and in which ways they differ."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

NOT_FOUND = ("no_answer", "truncated")
"""statuses of a grade for which the grader found no answer"""
STOPPED = ("timeout", "error")
"""statuses of a grade that ended before the answer was judged"""


@dataclass(frozen=True)
class Verdict:
    """What one grader says about one response, under the grader's own headline."""

    value: float | None
    """in [0, 1]; None where the grader gave no grade"""
    status: str
    how: str
    found: str
    """the answer that the grader found; empty where it found none, or does not say"""
    reason: str

    @property
    def right(self) -> bool:
        """Whether the response has the full score."""
        return self.value is not None and self.value >= 1.0


Verdicts = Mapping[str, Verdict]
"""grader -> its verdict on a response"""


@dataclass(frozen=True)
class Pair:
    """Two graders on the responses to one task that both of them graded."""

    task: str
    a: str
    b: str
    n: int
    agreement: float | None
    """share of responses on which both say right or both say wrong; None without responses"""
    kappa: float | None
    """Cohen's kappa; None where it is undefined, because both graders give the same verdict to every response"""
    a_only: int
    """responses that only `a` calls right"""
    b_only: int
    """responses that only `b` calls right"""
    ungraded: int
    """responses to which one of the two gave no grade; they are not counted in `n`"""

    @property
    def lenient(self) -> str:
        """The grader that calls more responses right. "" where both call equally many right."""
        return "" if self.a_only == self.b_only else self.a if self.a_only > self.b_only else self.b


@dataclass(frozen=True)
class Kind:
    """A way in which two graders differ on one response."""

    right: str
    """the grader that calls the response right"""
    wrong: str
    text: str


def compare_graders(task: str, responses: Mapping[str, Verdicts]) -> list[Pair]:
    """One pair for every two graders that graded responses to the task.

    Cohen, A Coefficient of Agreement for Nominal Scales (1960): kappa = (o - e) / (1 - e), where o is the observed
    agreement, and e the agreement by chance of two graders with the same shares of right responses.

    Args:
        task: name of the task.
        responses: name of the response -> verdicts on it.
    """
    graders = list(dict.fromkeys(name for verdicts in responses.values() for name in verdicts))
    return [_pair(task, a, b, responses) for a, b in itertools.combinations(graders, 2)]


def _pair(task: str, a: str, b: str, responses: Mapping[str, Verdicts]) -> Pair:
    both = [(own[a], own[b]) for own in responses.values() if a in own and b in own]
    known = [(first.right, second.right) for first, second in both if None not in (first.value, second.value)]
    n = len(known)
    a_only, b_only = known.count((True, False)), known.count((False, True))
    agreement = (n - a_only - b_only) / n if n else None
    kappa = None
    if agreement is not None:
        share_a, share_b = (sum(verdict[place] for verdict in known) / n for place in (0, 1))
        chance = share_a * share_b + (1 - share_a) * (1 - share_b)
        kappa = (agreement - chance) / (1 - chance) if chance < 1 else None
    return Pair(
        task=task,
        a=a,
        b=b,
        n=n,
        agreement=agreement,
        kappa=kappa,
        a_only=a_only,
        b_only=b_only,
        ungraded=len(both) - n,
    )


def kinds_of(verdicts: Verdicts) -> list[Kind]:
    """Every two graders that differ on a response, and how. Graders that gave no grade are left out."""
    known = {name: verdict for name, verdict in verdicts.items() if verdict.value is not None}
    return [
        Kind(right, wrong, _how(known[right], known[wrong]))
        for right, wrong in itertools.permutations(known, 2)
        if known[right].right and not known[wrong].right
    ]


def _how(right: Verdict, wrong: Verdict) -> str:
    """Why one grader says right and the other one wrong, as far as their verdicts tell."""
    if wrong.status in STOPPED:
        return f"the check ended with {wrong.status}"
    if wrong.status in NOT_FOUND:
        return "no answer found"
    if 0.0 < (wrong.value or 0.0) < 1.0:
        return "part of the score only"
    if not right.found or not wrong.found:
        return "judged wrong"
    return "same answer, judged wrong" if _plain(right.found) == _plain(wrong.found) else "another answer found"


def _plain(text: str) -> str:
    """A found answer without case, spaces, and what surrounds it."""
    return "".join(text.casefold().split()).strip("$.()*\"'`")
