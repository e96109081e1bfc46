"""The claims of the paper, each with its source, its test and a verdict that follows from stored rows: `CLAIMS`.

To add a claim, write a function from the evidence to a finding, and one entry in the dictionary of its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gldbench.claims.bounds import BOUNDS
from gldbench.claims.claim import Claim, Finding, Verdict
from gldbench.claims.costs import COSTS
from gldbench.claims.evidence import Evidence, read_evidence
from gldbench.claims.graphs import GRAPHS
from gldbench.claims.scores import SCORES
from gldbench.claims.training import TRAINING

CLAIMS: dict[str, Claim] = {**SCORES, **TRAINING, **COSTS, **BOUNDS, **GRAPHS}

__all__ = ["CLAIMS", "Claim", "Evidence", "Finding", "Verdict", "judged", "read_evidence"]


def judged(evidence: Evidence, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Judges the claims.

    Args:
        evidence: the rows.
        names: keys of CLAIMS; empty: all.

    Returns:
        One dictionary for each claim: id, source, test, measured, verdict, decides.
    """
    found = []
    for name in names or CLAIMS:
        claim = CLAIMS[name]
        finding = claim.judge(evidence)
        found.append(
            {
                "id": name,
                "source": claim.source,
                "test": claim.test,
                "measured": finding.measured,
                "verdict": finding.verdict,
                "decides": claim.decides,
            }
        )
    return found
