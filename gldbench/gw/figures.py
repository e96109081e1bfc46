"""The figures of a bench report, as PNG."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SETTINGS = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3}
KINDS = {"lower": "#1f6fb4", "paper": "#111111", "upper": "#c2571a", "exact": "#2c8a4b", "evaluation": "#888888"}
GUIDES = {"n log n": lambda n: n * np.log(n), "n^3": lambda n: n**3, "n^4": lambda n: n**4}

LETTER, LINE = 3.9, 7.5
"""width of a letter and height of a line in a label, in points"""


class Label(NamedTuple):
    """A text next to a point, whose coordinates are those of the data."""

    x: float
    y: float
    text: str
    colour: str


def time_against_n(solved: pd.DataFrame, family: str) -> bytes:
    """Median seconds by n on logarithmic axes. Dotted guides start at the first point of the fastest solver."""
    chosen = solved[(solved["family"] == family) & (solved["device"] == "cpu")].dropna(subset=["seconds"])
    figure, axes = _figure()
    sizes = np.array(sorted(chosen["n"].unique()), dtype=float)
    start, labels = chosen["seconds"].min(), []
    for name, law in GUIDES.items():
        if len(sizes) > 1:
            curve = start * law(sizes) / law(sizes[0])
            shown = curve < 20 * chosen["seconds"].max()
            axes.plot(sizes[shown], curve[shown], ":", color="#aaaaaa", linewidth=1)
            labels.append(Label(sizes[shown][-1], curve[shown][-1], name, "#888888"))
    for (solver, kind), part in chosen.groupby(["solver", "kind"], sort=False):
        line = part.groupby("n")["seconds"].median()
        axes.plot(line.index, line.to_numpy(), "o-", color=KINDS[kind], linewidth=1, markersize=3)
        labels.append(Label(line.index[-1], line.iloc[-1], str(solver), KINDS[kind]))
    axes.set(xscale="log", yscale="log", xlabel="nodes n", ylabel="seconds (median)", title=family)
    return _png(figure, axes, labels)


def width_against_n(known: pd.DataFrame) -> bytes:
    """The width of the certified interval over its upper end, by n, with one line per family."""
    figure, axes = _figure()
    labels = []
    for family, part in known[known["device"] == "cpu"].groupby("family", sort=False):
        line = part.groupby("n")["width"].median()
        if line.max() > 1e-9:
            axes.plot(line.index, line.to_numpy(), "o-", linewidth=1, markersize=3)
            labels.append(Label(line.index[-1], line.iloc[-1], str(family), "#333333"))
    axes.set(xscale="log", xlabel="nodes n", ylabel="(upper - lower) / upper", ylim=(0, 1))
    axes.set_title("certified interval of GW_2^2")
    return _png(figure, axes, labels)


def error_against_n(found: pd.DataFrame) -> bytes:
    """The median relative error over the families, by n, with one line per solver."""
    figure, axes = _figure()
    labels = []
    finite = found[np.isfinite(found["error"]) & (found["device"] == "cpu")]
    for (solver, kind), part in finite.groupby(["solver", "kind"], sort=False):
        line = part.groupby("n")["error"].median().clip(lower=1e-4)
        axes.plot(line.index, line.to_numpy(), "o-", color=KINDS[kind], linewidth=1, markersize=3)
        labels.append(Label(line.index[-1], line.iloc[-1], str(solver), KINDS[kind]))
    axes.set(xscale="log", yscale="log", xlabel="nodes n", ylabel="relative error (at least 1e-4)")
    axes.set_title("median over families")
    return _png(figure, axes, labels)


def pareto_picture(table: pd.DataFrame, n: int) -> bytes:
    """Error against time, one point per solver. It is filled if no solver of its side is both faster and closer."""
    figure, axes = _figure()
    labels = []
    for _, line in table.iterrows():
        colour = KINDS[line["kind"]]
        error = max(float(line["error"]), 1e-4)
        axes.plot(line["seconds"], error, "o", color=colour, markerfacecolor=colour if line["best"] else "white")
        labels.append(Label(line["seconds"], error, line["solver"], colour))
    axes.set(
        xscale="log", yscale="log", xlabel="seconds (median)", ylabel="relative error (at least 1e-4)", title=f"n = {n}"
    )
    return _png(figure, axes, labels)


def _figure() -> tuple[Figure, Axes]:
    with mpl.rc_context(SETTINGS):
        figure = Figure((6.4, 4.2), layout="constrained")
        return figure, figure.add_subplot()


def _png(figure: Figure, axes: Axes, labels: Sequence[Label]) -> bytes:
    _place(figure, axes, labels)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150, metadata={"Software": None})
    return image.getvalue()


def _place(figure: Figure, axes: Axes, labels: Sequence[Label]) -> None:
    """Writes each label to the right of its point, or higher if another label is there."""
    figure.canvas.draw()  # computes the scales of the axes
    scale = 72 / figure.dpi
    taken: list[tuple[float, float, float]] = []  # left, right, middle, in points
    for label in sorted(labels, key=lambda one: one.y):
        x, y = axes.transData.transform((label.x, label.y)) * scale
        left, right, middle = x + 4, x + 4 + LETTER * len(label.text), y
        while any(left < end and right > start and abs(middle - m) < LINE for start, end, m in taken):
            middle += 1
        taken.append((left, right, middle))
        style = {"color": label.colour, "fontsize": 7, "va": "center"}
        axes.annotate(label.text, (label.x, label.y), (4, middle - y), textcoords="offset points", **style)


def families_of(solved: pd.DataFrame, at_least: int) -> Sequence[str]:
    """The families that were timed at `at_least` sizes or more."""
    counts = solved.dropna(subset=["seconds"]).groupby("family", sort=False)["n"].nunique()
    return [str(family) for family in counts[counts >= at_least].index]
