"""Claims about the cost of exact distances and of sorting."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

import numpy as np

from gldbench.claims.claim import Claim, Finding, Verdict, undecided
from gldbench.claims.evidence import Evidence
from gldbench.gw.tables import Slope, slopes

BENCH = "gldbench gw bench --preset quick"
LARGE = "gldbench gw bench --preset features"
LOG_LINEAR = 1.3
"""largest exponent that n log n shows between 512 and 10^6 nodes, with room for caches that become too small"""
EXPONENT = f"Holds if the interval of the exponent lies below {LOG_LINEAR}, fails if it lies above, else undecided."
LOGITS = "synthetic-rank-raw"
SPARSE = "sparse-vocabulary"


def _exponent(evidence: Evidence, family: str, solver: str, smallest: int) -> Slope | None:
    """The exponent of the time in n, from `smallest` nodes on."""
    if evidence.solved.empty:
        return None
    chosen = evidence.solved[(evidence.solved["family"] == family) & (evidence.solved["solver"] == solver)]
    found = slopes(chosen, smallest)
    return found[0] if found else None


def _told(slope: Slope) -> str:
    return (
        f"{slope.value:.2f} ({slope.low:.2f} to {slope.high:.2f}, {slope.sizes[0]} to {slope.sizes[-1]} nodes, "
        f"{len(slope.sizes)} sizes)"
    )


def _below(slope: Slope, limit: float) -> Verdict:
    if slope.high < limit:
        return "holds"
    return "fails" if slope.low > limit else "undecided"


def quartic(evidence: Evidence) -> Finding:
    """Must the exact objective cost n^4? The fastest evaluation of it decides."""
    naive = _exponent(evidence, LOGITS, "naive", 64)
    factored = _exponent(evidence, LOGITS, "factored", 64)
    if naive is None or factored is None:
        return undecided("the evaluations of the objective at four sizes", BENCH)
    verdict: Verdict = "undecided"
    if factored.high < 3.5:
        verdict = "fails"
    elif factored.low > 3.5:
        verdict = "holds"
    return Finding(
        f"Exponent of the sum as written: {_told(naive)}. Exponent of the factorised sum, which has the same value: "
        f"{_told(factored)}.",
        verdict,
    )


def sorting(evidence: Evidence) -> Finding:
    """Does sorting cost n log n, with a fixed number of logits for each node?"""
    slope = _exponent(evidence, SPARSE, "ggw", 1000)
    if slope is None:
        return undecided("sorted gGW on sparse graphs at four sizes", BENCH)
    return Finding(f"Exponent of sorted gGW: {_told(slope)}.", _below(slope, LOG_LINEAR))


def features(evidence: Evidence) -> Finding:
    """Does gGW from logits cost n log n, if the features count and there are as many positions as nodes?"""
    slope = _exponent(evidence, LOGITS, "ggw", 512)
    if slope is None:
        return undecided("sorted gGW from logits at four sizes from 512 nodes on", LARGE)
    return Finding(f"Exponent of gGW, features and sorting together: {_told(slope)}.", _below(slope, LOG_LINEAR))


def speed(evidence: Evidence) -> Finding:
    """How many times faster is sorting than conditional gradient, and what do both numbers miss?"""
    solved = evidence.solved
    if solved.empty:
        return undecided("sorted gGW beside conditional gradient", BENCH)
    chosen = solved[(solved["family"] == LOGITS) & (solved["device"] == "cpu")]
    wide = chosen.pivot_table(index="n", columns="solver", values="seconds", aggfunc="median")
    if not {"ggw", "pot_cg"} <= set(wide.columns) or wide[["ggw", "pot_cg"]].dropna().empty:
        return undecided("sorted gGW beside conditional gradient", BENCH)
    ratio = (wide["pot_cg"] / wide["ggw"]).dropna()
    share = _share(evidence, int(ratio.index[-1]))
    return Finding(
        f"At {ratio.index[-1]} nodes and positions sorting is {ratio.iloc[-1]:.0f} times as fast as conditional "
        f"gradient; at {ratio.index[0]} nodes it is {ratio.iloc[0]:.1f} times as fast. ggw_mean^2 is {share} of GW_2^2 "
        "there, so that the two do not compute the same number.",
        "holds" if (ratio > 1).all() else "fails",
    )


def _share(evidence: Evidence, n: int) -> str:
    """The share of GW_2^2 that sorting captures at n nodes, between both ends of the certified interval."""
    keys = ["family", "item", "instance", "device"]
    paper = evidence.solved[(evidence.solved["solver"] == "ggw") & (evidence.solved["n"] == n)][[*keys, "value"]]
    joined = paper[paper["family"] == LOGITS].merge(evidence.problems.dropna(subset=["upper"]), on=keys)
    if joined.empty:
        return "an unknown share"
    low = float((joined["value"] ** 2 / joined["upper"]).median())
    high = float(np.minimum(1, joined["value"] ** 2 / joined["lower"].clip(lower=1e-300)).median())
    return f"{low:.0%} to {high:.0%}" if round(100 * low) < round(100 * high) else f"{low:.0%}"


COSTS = {
    "cost-exact": Claim(
        source="Complexity claim, from O(n^4) to O(n log n): exact Gromov-Wasserstein costs O(n^4).",
        test="Exponent in n of the time of two evaluations of the objective at one coupling: the sum over i, j, k, l "
        "as written, and the factorised sum of Peyre, Cuturi and Solomon (2016).",
        decides="The faster one: fails if the interval of its exponent lies below 3.5, holds if it lies above, else "
        "undecided.",
        judge=quartic,
    ),
    "cost-sorting": Claim(
        source="Complexity claim, from O(n^4) to O(n log n): the approximation costs O(n log n).",
        test="Exponent in n of the time of gGW on sparse graphs with a fixed number of logits a node, where the time "
        "is that of the sort.",
        decides=EXPONENT,
        judge=sorting,
    ),
    "cost-with-features": Claim(
        source="Complexity claim, from O(n^4) to O(n log n), with the node features counted and T = n positions.",
        test="Exponent in n of the time of gGW from logits Z [T, n] with T = n: every logit has to be read once.",
        decides=EXPONENT,
        judge=features,
    ),
    "faster": Claim(
        source='Title: "Efficient Gromov-Wasserstein". Sorting takes the place of a solver.',
        test="Time of POT's conditional gradient over that of gGW from logits with T = n, and the share of GW_2^2 that "
        "ggw_mean^2 captures.",
        decides="Holds if gGW is faster at every measured size.",
        judge=speed,
    ),
}
