"""Claims about the co-activation graph, judged by the rows of the benches `graph_facts` and `along_training`."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

import pandas as pd

from gldbench.claims.claim import Claim, Finding, undecided
from gldbench.claims.evidence import Evidence

FACTS = "python -m gldbench.benches.graph_facts"
ROUNDING = 1e-9
"""a relative difference below this is rounding"""


def _fact(evidence: Evidence, task: str) -> pd.Series:
    """Subject -> the largest value of one fact; empty if there are no rows of it."""
    if evidence.facts.empty:
        return pd.Series(dtype=float)
    chosen = evidence.facts[evidence.facts["task"] == task]
    return pd.Series(chosen.groupby("subject", sort=False)["value"].max())


def gauge(evidence: Evidence) -> Finding:
    """Does the graph term depend on the distributions alone, whatever the node values?"""
    moved = _fact(evidence, "gauge")
    if moved.empty:
        return undecided("the fact gauge", FACTS)
    text = ", ".join(f"{values} {value:.2g}" for values, value in moved.items())
    return Finding(
        f"Change of gld when 5 is added to all logits of each position, over the sum of the features: {text}.",
        "holds" if (moved < ROUNDING).all() else "fails",
    )


def softmax(evidence: Evidence) -> Finding:
    """Do the features of softmaxed logits hold anything beyond the mean probability of each rank?"""
    far = _fact(evidence, "collapse")
    if far.empty:
        return undecided("the fact collapse", FACTS)
    return Finding(
        f"Distance of the features from the mean probabilities, relative: {far['softmax']:.2g}. Standardised over the "
        f"kept k the features are 0 (relative size {far['standard over k']:.2g}).",
        "fails" if (far < ROUNDING).any() else "holds",
    )


def order(evidence: Evidence) -> Finding:
    """Does sorting the features move any node, on rank nodes of one sign?"""
    moved = _fact(evidence, "order")
    if moved.empty:
        return undecided("the fact order", FACTS)
    text = ", ".join(f"{values} {share:.1%}" for values, share in moved.items())
    return Finding(f"Nodes that sorting moves: {text}.", "holds" if (moved > 0).any() else "vacuous")


def names(evidence: Evidence) -> Finding:
    """Does the graph term of the paper change when the source's vocabulary ids are permuted?"""
    moved = _fact(evidence, "names")
    if moved.empty:
        return undecided("the fact names", FACTS)
    text = ", ".join(f"{loss} {value:.2g}" for loss, value in moved.items())
    return Finding(
        f"Relative change of each loss under one permutation of all ids of the source: {text}.",
        "holds" if moved["gld, rank nodes"] > ROUNDING else "fails",
    )


def lipschitz(evidence: Evidence) -> Finding:
    """Is the largest gradient of the graph term below that of uld, and that below KL, in every setting?"""
    if evidence.facts.empty or not (chosen := evidence.facts[evidence.facts["task"] == "gradient"]).size:
        return undecided("the fact gradient", FACTS)
    wide = chosen.pivot_table(index="variant", columns="subject", values="value", sort=False)
    ordered = _ordered(wide)
    worst = (wide["gld"] / wide["kl"]).sort_values()
    trained = _along(evidence)
    trained_order = _ordered(trained)
    text = (
        f"The order gld < uld < kl holds in {int(ordered.sum())} of {len(wide)} settings of random logits. gld over kl "
        f"lies between {worst.iloc[0]:.3g} ({worst.index[0]}) and {worst.iloc[-1]:.3g} ({worst.index[-1]}). The "
        f"gradient of kl never exceeds {wide['kl'].max():.3g}, where the claim has exp(R D)."
    )
    if len(trained):
        text += (
            f" Along training, the order holds in {int(trained_order.sum())} of {len(trained)} settings of method, "
            f"step and noise, and gld over kl is at least {(trained['gld'] / trained['kl']).min():.3g}."
        )
    return Finding(text, "holds" if ordered.all() and trained_order.all() else "fails")


def _along(evidence: Evidence) -> pd.DataFrame:
    """The largest gradients along training: a line for each method, step and noise, a column for each loss."""
    columns = ["gld", "uld", "kl"]
    if evidence.along.empty:
        return pd.DataFrame(columns=columns)
    chosen = evidence.along[(evidence.along["task"] == "gradient") & (evidence.along["metric"] == "largest")]
    wide = chosen.pivot_table(index=["method", "item", "variant"], columns="subject", values="value")
    return wide.reindex(columns=columns).dropna()  # sources with another vocabulary than the pivot's have no kl


def _ordered(wide: pd.DataFrame) -> pd.Series:
    """In which lines the gradients have the order of the claim."""
    return pd.Series((wide["gld"] < wide["uld"]) & (wide["uld"] < wide["kl"]))


GRAPHS = {
    "gauge": Claim(
        source="Framework figure: the graph is built from retained top-k logits. Logits z and z + const are the same "
        "distribution.",
        test="gld between a sequence and the same sequence with 5 added to all logits, relative to the features, for "
        "each kind of node values.",
        decides="Holds if no kind of node values sees the constant; fails if one does.",
        judge=gauge,
    ),
    "softmax-carries-graph": Claim(
        source='Framework figure, "graph feature compression": the node feature is the row sum of C.',
        test="Node features of softmaxed logits beside the mean probability of each rank, and of logits standardised "
        "over the kept k beside 0.",
        decides="Fails if the features hold nothing else (relative distance below 1e-9) for one of the two.",
        judge=softmax,
    ),
    "sorting-matters": Claim(
        source="Framework figure: the features are sorted before they are compared.",
        test="Share of rank nodes that sorting moves, for node values of one sign.",
        decides="Vacuous if sorting moves none.",
        judge=order,
    ),
    "graph-knows-tokens": Claim(
        source="Abstract and proof excerpt: the graph C(i, j) = sum_t z_t(i) z_t(j) of the retained logits says which "
        "tokens are active together. A loss on it should change when the tokens are other ones.",
        test="Relative change of each loss when one permutation renames all vocabulary ids of the source.",
        decides="Fails if the graph term on rank nodes does not change (below 1e-9).",
        judge=names,
    ),
    "lipschitz-order": Claim(
        source="Proof excerpt: L_GW = O(R^3/D) < L_WD = O(sqrt(D)) < L_KL = O(exp(R D)).",
        test="Largest gradient norm of gld (raw logits), uld and kl per unit, over random pairs of sequences whose D "
        "logits do not exceed R. The same over texts along training, at the pivot's logits with and without noise, "
        "against a source that has the pivot's vocabulary.",
        decides="Holds if gld < uld < kl at every R and D, and at every moment and noise of the trainings that were "
        "measured.",
        judge=lipschitz,
    ),
}
