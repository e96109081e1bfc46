"""Claims about the error of the approximation: one for each reading of the paper's bound."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

from functools import partial

import pandas as pd

from gldbench.claims.claim import Claim, Finding, Verdict, undecided
from gldbench.claims.costs import BENCH
from gldbench.claims.evidence import Evidence
from gldbench.gw import claims as bound

SOURCE = (
    "Proof excerpt (our reading of a garbled formula): |GW(C, D) - GW~(C, D)| <= (n - 1)/n^2 + (m - 1)/m^2. The paper "
    "says neither which power of GW nor which normalisation of the sorted sum it means."
)
DECIDES = (
    "Fails if a certified interval shows one error above the bound. Otherwise vacuous if GW itself never exceeds the "
    "bound, so that the constant 0 satisfies it too; undecided if an interval is too wide; else holds."
)
SOFTMAX = ("synthetic-rank-softmax", "synthetic-vocabulary-softmax")
MOST_NAMED = 4


def _judged(lines: pd.DataFrame) -> Finding:
    """The verdict on the chosen readings, families and units together."""
    if lines.empty:
        return undecided("problems with certified intervals", BENCH)
    failing = lines[lines["verdict"] == "fails"]
    counts = lines["verdict"].value_counts()
    told = ", ".join(f"{name} {counts[name]}" for name in bound.VERDICTS if name in counts)
    text = f"{len(lines)} cases of {lines['family'].nunique()} families: {told}."
    if not failing.empty:
        worst = failing.assign(ratio=failing["least_error"] / failing["bound"]).sort_values("ratio").iloc[-1]
        first = failing.groupby("family")["n"].min()
        named = [f"{family} from n = {n}" for family, n in first.items()]
        more = f" and {len(named) - MOST_NAMED} more families" if len(named) > MOST_NAMED else ""
        text += (
            f" Fails on {', '.join(named[:MOST_NAMED])}{more}. The largest error is at least {worst['ratio']:.3g} "
            f"times the bound ({worst['family']}, n = {worst['n']})."
        )
    verdict: Verdict = "holds"
    if not failing.empty:
        verdict = "fails"
    elif "open" in counts:
        verdict = "undecided"
    elif set(counts.index) == {"holds vacuously"}:
        verdict = "vacuous"
    return Finding(text, verdict)


def _lines(evidence: Evidence) -> pd.DataFrame:
    if evidence.solved.empty:
        return pd.DataFrame()
    return bound.judged(evidence.solved, evidence.problems)


def reading(evidence: Evidence, form: str, normalisation: str) -> Finding:
    """One reading of the bound, in the units in which a training loss would use the graphs."""
    lines = _lines(evidence)
    if lines.empty:
        return _judged(lines)
    chosen = lines[(lines["form"] == form) & (lines["normalisation"] == normalisation) & (lines["scale"] == "family")]
    return _judged(chosen)


def scale(evidence: Evidence, unit: str) -> Finding:
    """All readings of the bound, in units that do not depend on the scale of the graphs."""
    lines = _lines(evidence)
    return _judged(lines if lines.empty else lines[lines["scale"] == unit])


def softmax_graphs(evidence: Evidence) -> Finding:
    """All readings, on graphs of softmaxed tokens averaged over the positions, whose edge weights sum to 1."""
    lines = _lines(evidence)
    if lines.empty:
        return _judged(lines)
    return _judged(lines[lines["family"].isin(SOFTMAX) & (lines["scale"] == "family")])


def captures(evidence: Evidence) -> Finding:
    """What share of GW_2^2 does the square of the sorted mean capture on co-activation graphs?"""
    if evidence.solved.empty:
        return undecided("problems with certified intervals", BENCH)
    keys = ["family", "item", "instance", "device"]
    solved = evidence.solved
    paper = solved[(solved["solver"] == "ggw") & solved["family"].str.startswith("synthetic-")]
    joined = paper[[*keys, "value"]].merge(evidence.problems.dropna(subset=["upper"]), on=keys)
    joined = joined[joined["lower"] > 0]
    if joined.empty:
        return undecided("co-activation graphs with certified intervals", BENCH)
    high = (joined["value"] ** 2 / joined["lower"]).clip(upper=1)
    low = joined["value"] ** 2 / joined["upper"]
    medians = high.groupby(joined["family"]).median().sort_values()
    text = "Median share at most: " + ", ".join(f"{family} {share:.1%}" for family, share in medians.items()) + "."
    if (high < SHARE).any():
        return Finding(text, "fails")
    return Finding(text, "holds" if (low >= SHARE).all() else "undecided")


SHARE = 0.9

BOUNDS = {
    f"bound-{form.replace('^', '').replace('_', '').lower()}-{normalisation.removeprefix('ggw_')}": Claim(
        source=SOURCE,
        test=f"Reading: {form} against {normalisation}, in the units in which a training loss would use the graphs, on "
        "every family of the bench, with certified intervals around GW.",
        decides=DECIDES,
        judge=partial(reading, form=form, normalisation=normalisation),
    )
    for form in bound.FORMS
    for normalisation in bound.NORMALISATIONS
}
BOUNDS |= {
    f"bound-{unit.replace(' ', '-')}": Claim(
        source=SOURCE + " The bound does not scale with the graphs; GW does.",
        test=f"All readings, in units in which {meaning}.",
        decides=DECIDES,
        judge=partial(scale, unit=unit),
    )
    for unit, meaning in bound.SCALES.items()
    if unit != "family"
}
BOUNDS |= {
    "bound-softmax-graphs": Claim(
        source=SOURCE + " Here: on graphs of softmaxed tokens, averaged over the positions.",
        test="All readings on the families of softmaxed logits, as they are: their edge weights sum to 1.",
        decides=DECIDES,
        judge=softmax_graphs,
    ),
    "captures-gw": Claim(
        source='Title: "Efficient Gromov-Wasserstein". The sorted sum stands for the distance.',
        test="The share ggw_mean^2 / GW_2^2 on co-activation graphs, between both ends of the certified interval.",
        decides=f"Fails if one share is certainly below {SHARE:.0%}, holds if all are certainly above, else undecided.",
        judge=captures,
    ),
}
