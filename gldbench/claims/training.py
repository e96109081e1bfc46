"""Claims about what fusion methods achieve, judged by the reports of comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from scipy.stats import f

from gldbench.claims.claim import Claim, Finding, Verdict, undecided
from gldbench.claims.evidence import Evidence

COMPARE = "gldbench run compare"
EXPLORE = "gldbench run compare-explore"
ABLATIONS = "gldbench run compare-ablations"
EDGES = "gldbench run compare-edges"
SAME = 0.02
"""differences whose whole interval lies within this share of the score count as none"""
GRAPH, TOKENS = "sft+uld+gld", "sft+uld"
WEIGHTS = (GRAPH, f"{GRAPH}-ten")
"""the graph term with rising weights"""
CONSTANT = "-constant"
"""ends the name of a method whose graphs have constant edges"""
TOP_K = "sft+uld+topk"
BLIND = ("sft+uld-blind", "sft+gld-blind")
"""methods that learn from the source of `KNOWING`, with losses that do not know which token is which"""
KNOWING = "sft+kl"
BASELINE = "sft"

KINDS = ("primary", "added_differences", "control_differences", "differences")
"""lists of differences in the numbers of a report; the first that has a difference counts"""

Difference = Mapping[str, Any]
Pair = tuple[str, str]
"""(candidate, baseline)"""
Known = Mapping[Pair, tuple[str, Difference]]
"""pair -> the run that measured it, and its difference"""


def differences(evidence: Evidence, wanted: Sequence[Pair]) -> list[tuple[str, Difference]] | None:
    """The differences candidate - baseline in the first run that has all of them, with its name; None: there is none.

    Runs count if their gate passes and their weights are tuned. Those with primary comparisons come first.
    """
    return next((found for known in _known(evidence) if (found := _chosen(known, wanted)) is not None), None)


def _known(evidence: Evidence) -> Iterator[Known]:
    """The differences of each run that counts, by pair."""
    fit = [run for run in evidence.comparisons if run["gate"]["passes"] and run["tuned"]]
    for run in sorted(fit, key=lambda run: not run.get("primary")):
        weights = run.get("tuned_weights", {})
        yield {
            _pair(d): (run["run_id"], {**d, "tuned_weight": weights.get(d["candidate"])})
            for kind in reversed(KINDS)
            for d in run.get(kind, ())
        }


def _chosen(known: Known, wanted: Sequence[Pair]) -> list[tuple[str, Difference]] | None:
    return [known[pair] for pair in wanted] if all(pair in known for pair in wanted) else None


def _told(found: tuple[str, Difference]) -> str:
    run, one = found
    estimate = one["difference"]
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    if low == high == 0:
        zero = ": the tuning chose the weight 0 for its own term" if one.get("tuned_weight") == 0 else ""
        return f"{one['candidate']} gives the same answers as {one['baseline']}{zero} (run {run})"
    sure = "" if one["p"] is None else f", p = {one['p']:.2g} ({one['correction'] or 'not corrected'})"
    return (
        f"{one['candidate']} minus {one['baseline']}: {value:+.1f} points ({low:+.1f} to {high:+.1f}; "
        f"{one['n_seeds']} pairs of a world and a seed{sure}; run {run})"
    )


def _pair(difference: Difference) -> Pair:
    return difference["candidate"], difference["baseline"]


def _ends(found: tuple[str, Difference]) -> tuple[float, float]:
    estimate = found[1]["difference"]
    return estimate["low"], estimate["high"]


def above(evidence: Evidence, candidate: str, baseline: str) -> Finding:
    """Does the candidate score above the baseline, in a run that tunes it and names this comparison as primary?"""
    named = [
        run
        for run in evidence.comparisons
        if (candidate, baseline) in map(_pair, run.get("primary", ())) and candidate not in run.get("fixed_weights", ())
    ]
    found = differences(replace(evidence, comparisons=tuple(named)), [(candidate, baseline)])
    if found is None:
        return undecided(f"{candidate} beside {baseline}, as a primary comparison in a world that passes", COMPARE)
    return Finding(f"{_told(found[0])}.", _gain(found[0]))


def _gain(found: tuple[str, Difference]) -> Verdict:
    low, high = _ends(found)
    return "holds" if low > 0 else "fails" if high < SAME else "undecided"


def edges(evidence: Evidence) -> Finding:
    """Do the edges of the graph contribute, at the smallest weight at which the graph term does anything?"""
    levels: list[list[tuple[str, Difference]]] = []
    for known in _known(evidence):
        found = [_chosen(known, ((weight, TOKENS), (weight, weight + CONSTANT))) for weight in WEIGHTS]
        levels = levels or [level for level in found if level is not None]
    if not levels:
        return undecided(f"{GRAPH} beside the same with constant edges", EDGES)
    text = "; ".join(_told(one) for level in levels for one in level) + "."
    for term, compared in levels:
        if not _ends(term)[0] <= 0 <= _ends(term)[1]:
            return Finding(text, _gain(compared))
    if all(low > -SAME and high < SAME for low, high in (_ends(term) for term, _ in levels)):
        return Finding(f"At no weight does the term itself change the score. {text}", "vacuous")
    return Finding(f"It is open whether the term itself changes the score. {text}", "undecided")


def over_top_k(evidence: Evidence) -> Finding:
    """Does the graph term add more to the token term than the same top-k logits without a graph?"""
    found = differences(evidence, [(GRAPH, TOKENS), (TOP_K, TOKENS)])
    if found is None:
        return undecided(f"{GRAPH} and {TOP_K} beside {TOKENS}", ABLATIONS)
    (low, high), (least, most) = map(_ends, found)
    verdict: Verdict = "holds" if low > max(0.0, most) else "fails" if high < max(SAME, least) else "undecided"
    return Finding("; ".join(map(_told, found)) + ".", verdict)


def stability(evidence: Evidence) -> Finding:
    """Do scores differ less between seeds with the graph term than with plain fine-tuning?"""
    for run in evidence.comparisons:
        known = {score["method"]: score for score in run.get("methods", ())}
        spreads = [known.get(method, {}).get("seed_spread") for method in (GRAPH, BASELINE)]
        counts = run["gate"]["passes"] and run["tuned"] and GRAPH not in run.get("fixed_weights", ())
        if not (counts and run.get("primary") and all(spreads)):
            continue
        freedom = [len(known[method]["seeds"]) - len(run["worlds"]) for method in (GRAPH, BASELINE)]
        ratio = spreads[0] / spreads[1]
        low, high = (ratio / f.ppf(q, *freedom) ** 0.5 for q in (0.975, 0.025))
        text = (
            f"Standard deviation between the seeds of a world: {100 * spreads[0]:.1f} points with {GRAPH}, "
            f"{100 * spreads[1]:.1f} with {BASELINE}: {ratio:.2f} times ({low:.2f} to {high:.2f}; run {run['run_id']})."
        )
        return Finding(text, "holds" if high < 1 else "fails" if low > 1 else "undecided")
    return undecided(f"{GRAPH} and {BASELINE}, with several seeds in a world that passes", COMPARE)


def blindness(evidence: Evidence) -> Finding:
    """From one source, at the same positions: does a loss without token names carry over what KL carries over?"""
    found = differences(evidence, [(name, BASELINE) for name in (KNOWING, *BLIND)])
    if found is None:
        return undecided(f"{KNOWING}, {' and '.join(BLIND)} in one run", EXPLORE)
    knowing, *blind = found
    text = "; ".join(map(_told, found)) + "."
    if any(_ends(one)[0] > 0 for one in blind):
        return Finding(text, "holds")
    lost = _ends(knowing)[0] > 0 and all(_ends(one)[1] < _ends(knowing)[0] for one in blind)
    return Finding(text, "fails" if lost else "undecided")


IMPROVES = (
    f"Holds if the lower end of the 95 % interval is above 0; fails if the upper end is below {100 * SAME:g} points; "
    "else undecided. Only a run counts that tunes the weights, passes its gate and names the comparison as primary."
)
TRAINING = {
    "fusion-graph-improves": Claim(
        source='Abstract: the graph term "consistently improves" fusion over token-level distillation.',
        test=f"Score of {GRAPH} minus that of {TOKENS}, on the same worlds, seeds and items, with tuned weights.",
        decides=IMPROVES,
        judge=partial(above, candidate=GRAPH, baseline=TOKENS),
    ),
    "fusion-beats-sft": Claim(
        source="Table 3: InfiGFusion stands above Phi-4-SFT, on average and in most rows.",
        test=f"Score of {GRAPH} minus that of {BASELINE}, on the same worlds, seeds and items, with tuned weights.",
        decides=IMPROVES,
        judge=partial(above, candidate=GRAPH, baseline=BASELINE),
    ),
    "fusion-edges-matter": Claim(
        source="A test that a reviewer of the paper proposed: replace every edge weight by a constant and train again.",
        test=f"Score of {GRAPH} minus that of the same with constant edges, on the same worlds, seeds and items, and "
        f"each minus {TOKENS}, in `compare-edges`, or else in `compare-ablations`. The weights of gld are fixed there, "
        "because the tuned one is 0, at which nothing could be seen.",
        decides=f"The smallest weight decides at which the interval of the term itself (minus {TOKENS}) leaves 0 out. "
        "There: holds if the lower end of the interval over constant edges is above 0; fails if the upper end is below "
        f"{100 * SAME:g} points; else undecided. Vacuous if at every weight the interval of the term itself lies "
        f"within {100 * SAME:g} points of 0.",
        judge=edges,
    ),
    "fusion-graph-over-top-k": Claim(
        source="An ablation that reviewers of the paper asked for: the graph term against plain top-k logits.",
        test=f"{GRAPH} and {TOP_K}, each minus {TOKENS}, on the same worlds, seeds and items in `compare-ablations`. "
        "The weight of the top-k term is tuned, that of gld is fixed.",
        decides="Holds if the interval of the graph term lies above 0 and above that of the top-k term. Fails if its "
        f"upper end is below {100 * SAME:g} points, or below the interval of the top-k term. Else undecided.",
        judge=over_top_k,
    ),
    "fusion-stability": Claim(
        source='Abstract: GLD "consistently improves" quality and stability.',
        test="Standard deviation of the score between the seeds of a world, pooled over worlds: that of "
        f"{GRAPH} divided by that of {BASELINE}, with the interval of the F distribution.",
        decides="Holds if the interval of the quotient lies below 1, fails if it lies above 1, else undecided. Only a "
        "run counts that tunes the weights, passes its gate and names primary comparisons.",
        judge=stability,
    ),
    "fusion-without-names": Claim(
        source="The token term and the graph term compare sorted values, so that neither knows which token is which.",
        test=f"From one source with the pivot's vocabulary, at the same positions and on the same data: {KNOWING}, "
        f"{' and '.join(BLIND)}, each minus {BASELINE}.",
        decides="Holds if a loss that compares sorted values beats sft (lower end above 0). Fails if KL beats sft and "
        "the intervals of both such losses lie below that of KL. Else undecided. It says nothing about other losses "
        "without token ids, such as alm.",
        judge=blindness,
    ),
}
