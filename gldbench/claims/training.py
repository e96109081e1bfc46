"""Claims about what fusion methods achieve, judged by the reports of comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from gldbench.claims.claim import Claim, Finding, Verdict, undecided
from gldbench.claims.evidence import Evidence

COMPARE = "gldbench run compare"
EXPLORE = "gldbench run compare-explore"
ABLATIONS = "gldbench run compare-ablations"
SAME = 0.02
"""differences whose whole interval lies within this share of the score count as none"""
GRAPH, TOKENS = "sft+uld+gld", "sft+uld"
CONSTANT = "sft+uld+gld-constant"
BLIND = ("sft+uld-blind", "sft+gld-blind")
"""methods that learn from the source of `KNOWING`, with losses that do not know which token is which"""
KNOWING = "sft+kl"
BASELINE = "sft"

Difference = Mapping[str, Any]


def _pairs(evidence: Evidence) -> Iterator[tuple[str, Difference]]:
    """(run, difference) for all differences of tuned comparisons whose gate passed, the primary ones first."""
    for kind in ("primary", "added_differences", "control_differences", "differences"):
        for run in evidence.comparisons:
            if run["gate"]["passes"] and run["tuned"]:
                yield from ((run["run_id"], difference) for difference in run.get(kind, ()))


def difference(evidence: Evidence, candidate: str, baseline: str) -> tuple[str, Difference] | None:
    """The first difference candidate - baseline, with the run that measured it."""
    wanted = (candidate, baseline)
    return next(((run, d) for run, d in _pairs(evidence) if (d["candidate"], d["baseline"]) == wanted), None)


def _told(found: tuple[str, Difference]) -> str:
    run, one = found
    estimate = one["difference"]
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    if low == high == 0:
        return (
            f"{one['candidate']} gives the same answers as {one['baseline']}: the tuning chose the weight 0 for its "
            f"own term (run {run})"
        )
    sure = "" if one["p"] is None else f", p = {one['p']:.2g} ({one['correction'] or 'not corrected'})"
    return (
        f"{one['candidate']} minus {one['baseline']}: {value:+.1f} points ({low:+.1f} to {high:+.1f}; "
        f"{one['n_seeds']} pairs of a world and a seed{sure}; run {run})"
    )


def _ends(found: tuple[str, Difference]) -> tuple[float, float]:
    estimate = found[1]["difference"]
    return estimate["low"], estimate["high"]


def above(evidence: Evidence, candidate: str, baseline: str, command: str) -> Finding:
    """Does the candidate score above the baseline?

    Args:
        evidence: the rows.
        candidate, baseline: names of methods.
        command: makes the rows.
    """
    found = difference(evidence, candidate, baseline)
    if found is None:
        return undecided(f"{candidate} beside {baseline} in a world that passes the gate", command)
    low, high = _ends(found)
    verdict: Verdict = "holds" if low > 0 else "fails" if high < SAME else "undecided"
    return Finding(f"{_told(found)}.", verdict)


def blindness(evidence: Evidence) -> Finding:
    """From one source, at the same positions: does a loss without token names carry over what KL carries over?"""
    knowing = difference(evidence, KNOWING, BASELINE)
    blind = [found for name in BLIND if (found := difference(evidence, name, BASELINE)) is not None]
    if knowing is None or len(blind) < len(BLIND):
        return undecided(f"{KNOWING}, {' and '.join(BLIND)} in one world", EXPLORE)
    text = "; ".join(map(_told, (knowing, *blind))) + "."
    if any(_ends(found)[0] > 0 for found in blind):
        return Finding(text, "holds")
    lost = _ends(knowing)[0] > 0 and all(_ends(found)[1] < _ends(knowing)[0] for found in blind)
    return Finding(text, "fails" if lost else "undecided")


IMPROVES = (
    f"Holds if the lower end of the 95 % interval is above 0; fails if the upper end is below {100 * SAME:g} points; "
    "else undecided. Runs whose world gate fails, or whose weights were not tuned, decide nothing."
)
TRAINING = {
    "fusion-graph-improves": Claim(
        source="Abstract: the graph term improves fusion over token-level distillation.",
        test=f"Score of {GRAPH} minus that of {TOKENS}, on the same worlds, seeds and items, with tuned weights.",
        decides=IMPROVES,
        judge=partial(above, candidate=GRAPH, baseline=TOKENS, command=COMPARE),
    ),
    "fusion-beats-sft": Claim(
        source="Table 3: InfiGFusion stands above Phi-4-SFT, on average and in most rows.",
        test=f"Score of {GRAPH} minus that of {BASELINE}, on the same worlds, seeds and items, with tuned weights.",
        decides=IMPROVES,
        judge=partial(above, candidate=GRAPH, baseline=BASELINE, command=COMPARE),
    ),
    "fusion-edges-matter": Claim(
        source="A test that a reviewer of the paper proposed: replace every edge weight by a constant and train again.",
        test=f"Score of {GRAPH} minus that of {CONSTANT}, with the fixed weight of gld in `compare-ablations`, on the "
        "same worlds, seeds and items.",
        decides=IMPROVES,
        judge=partial(above, candidate=GRAPH, baseline=CONSTANT, command=ABLATIONS),
    ),
    "fusion-without-names": Claim(
        source="The token term and the graph term compare sorted values, so that neither knows which token is which.",
        test=f"From one source with the pivot's vocabulary, at the same positions and on the same data: {KNOWING}, "
        f"{' and '.join(BLIND)}, each minus {BASELINE}.",
        decides="Holds if a loss without names beats sft (lower end above 0). Fails if KL beats sft and the intervals "
        "of both losses without names lie below that of KL. Else undecided.",
        judge=blindness,
    ),
}
