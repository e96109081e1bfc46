"""The name, position and colour of each method, the same in all tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Group = Literal["reference", "method", "control"]

BASELINE = "sft"
POSITIVE = "sft+kl"
NEGATIVE = "sft+kl-shuffled"
ORACLE = "oracle routing"
BEST_SOURCES = "best source per family"
SAME_VOCABULARY = "control"
"""method name of the source that has the pivot's vocabulary; the positive control learns from it"""

GROUPS: dict[Group, str] = {
    "reference": "Models that fusion starts from",
    "method": "Fusion methods",
    "control": "Controls",
}

FIXED_ORDER = ("pivot", BEST_SOURCES, ORACLE, SAME_VOCABULARY, BASELINE, "sft+uld", "sft+gld", "sft+uld+gld", POSITIVE)

CONTROL_SUFFIXES = {
    "-shuffled": "the outputs of the source belong to other examples",
    "-constant": "every edge weight of the co-activation graph is replaced by one constant",
    "-rewired": "the edge weights of the source's co-activation graph lie between other pairs of nodes",
    "-longer": "it is trained for more steps, so that it costs as many FLOPs as a method whose sources run too",
    "-order": "all seeds have the same sample of the fusion set, so that only the order of its examples varies",
    "-permuted": "the token ids of the source are permuted (a loss that ignores ids gives an identical checkpoint)",
}


@dataclass(frozen=True)
class Style:
    """How a method is drawn. A control has the colour of the method that it controls, and hollow marks."""

    colour: str
    """#rrggbb on a white page; `DARK` has the colour on a dark page"""
    hollow: bool


INK, MUTED, RULE, PAPER = "#1d2430", "#5d6778", "#dfe3e9", "#ffffff"
"""colours of text, secondary text, lines and background of a figure"""
NEUTRAL = "#7c8697"
COLOURS = {  # after Okabe and Ito (2008): colour-blind readers can tell them apart
    BASELINE: "#3a4250",
    "sft+uld": "#0072b2",
    "sft+gld": "#009e73",
    "sft+uld+gld": "#d55e00",
    POSITIVE: "#b0568f",
}
SPARE_COLOURS = ("#8a6d00", "#6a51a3", "#7a4a2b")
"""colours of the first methods that have none in `COLOURS`, in alphabetical order; further ones are neutral"""
DARK = {
    INK: "#e8ebf0",
    MUTED: "#a3adbd",
    RULE: "#343b47",
    PAPER: "#171b22",
    NEUTRAL: "#8e99ab",
    "#3a4250": "#d3d9e3",
    "#0072b2": "#4aa8e8",
    "#009e73": "#2fc49a",
    "#d55e00": "#ff8b45",
    "#b0568f": "#e094c4",
    "#8a6d00": "#d9b53a",
    "#6a51a3": "#a993e0",
    "#7a4a2b": "#c99a78",
}
"""colour on a white page -> colour on a dark page"""


def label_of(method: str) -> str:
    """The name that tables and figures show for `method`."""
    return "control source" if method == SAME_VOCABULARY else method


def controlled(method: str) -> str | None:
    """The method that `method` controls ("sft+kl" for "sft+kl-shuffled"), or None if it is no such control."""
    for suffix in CONTROL_SUFFIXES:
        if method.endswith(suffix):
            return method.removesuffix(suffix)
    return None


def is_source(method: str) -> bool:
    """Whether `method` is one of the fused sources. The source with the pivot's vocabulary is not."""
    return method.startswith("source-")


def is_specialist(method: str) -> bool:
    """Whether `method` is one of the models whose weights or logits other methods combine."""
    return method.startswith("specialist-")


def group_of(method: str) -> Group:
    """The group of `method` in tables and figures."""
    if method in ("pivot", BEST_SOURCES, ORACLE, SAME_VOCABULARY) or is_source(method) or is_specialist(method):
        return "reference"
    return "control" if method == POSITIVE or controlled(method) else "method"


def in_fixed_order(methods: Iterable[str]) -> list[str]:
    """Sorts `methods` by group, then in the order of `FIXED_ORDER`. Unknown methods come last, by name."""
    ranks = {name: rank for rank, name in enumerate(FIXED_ORDER)}

    def key(method: str) -> tuple[int, float, int, str]:
        base = controlled(method)
        rank = 0.5 if is_source(method) else ranks.get(base or method, len(ranks))
        return list(GROUPS).index(group_of(method)), rank, base is not None, method

    return sorted(methods, key=key)


def in_term_order(terms: Iterable[str]) -> list[str]:
    """Sorts loss terms as method names list them. Unknown terms come last, by name."""
    ranks = {"sft": 0, "uld": 1, "gld": 2, "kl": 3}
    return sorted(terms, key=lambda term: (ranks.get(term, len(ranks)), term))


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """The style of each method. A method in `COLOURS` has the same colour in every report."""
    bases = {controlled(method) or method for method in methods if group_of(method) != "reference"}
    spare = dict(zip(sorted(bases - set(COLOURS)), SPARE_COLOURS, strict=False))
    known = COLOURS | spare
    return {
        method: Style(known.get(controlled(method) or method, NEUTRAL), bool(controlled(method))) for method in methods
    }


def family_of(task: str) -> str:
    """ "dyck_languages" for the task "world_dyck_languages"."""
    return task.removeprefix("world_")


def spoken(family: str) -> str:
    """The name of a family with spaces instead of underscores."""
    return family.replace("_", " ")
