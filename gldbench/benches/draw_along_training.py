"""Draws the figure of the report of `along_training`, from its rows."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gldbench.report.svg import SETTINGS, picture

PIVOT = "pivot"
"""method of the rows of step 0, which all trainings have in common"""
LINES = {
    "GW_2": ("GW_2 upper", "#2c8a4b", 1.2),
    "GW_1": ("GW_1 upper", "#7fb3dc", 4.0),
    "gGW (mean)": ("ggw_mean", "#111111", 1.2),
}
"""lines of the figure -> metric, colour and width; the intervals are narrower than a line, and GW_1 lies below gGW"""
LOSSES = {"gld": "#c2571a", "kl": "#b0568f", "uld": "#1f6fb4"}


def same_vocabulary(rows: pd.DataFrame) -> list[str]:
    """The sources with the pivot's vocabulary: kl was measured against them."""
    return sorted({variant.partition(" noise=")[0] for variant in rows[rows["subject"] == "kl"]["variant"]})


def draw(rows: pd.DataFrame) -> bytes:
    """The figure, as PNG: one column for each method."""
    methods = [m for m in rows["method"].unique() if m != PIVOT]
    with mpl.rc_context(SETTINGS):
        figure = Figure((2.1 * len(methods) + 0.6, 4.4), layout="constrained")
        axes = figure.subplots(2, len(methods), sharex=True, sharey="row", squeeze=False)
        for column, method in enumerate(methods):
            own = rows[rows["method"].isin([PIVOT, method])]
            _draw_distances(axes[0, column], own[(own["task"] == "distance") & (own["subject"] == "logprob")])
            _draw_gradients(axes[1, column], own[(own["task"] == "gradient") & (own["metric"] == "mean")])
            axes[0, column].set_title(method)
            axes[1, column].set_xlabel("step")
        axes[0, 0].set_ylabel("distance")
        axes[1, 0].set_ylabel("norm of the gradient")
        for line in axes[:, -1]:
            line.legend(frameon=False, fontsize=7, loc="best")
        return picture("along-training", "Along training", "", "", figure).png


def _draw_distances(axes: Axes, own: pd.DataFrame) -> None:
    for label, (metric, colour, width) in LINES.items():
        line = own[own["metric"] == metric].groupby("item")["value"].mean()
        axes.plot(line.index, line.to_numpy(), "o-", color=colour, markersize=2.5, linewidth=width, label=label)
    axes.set_ylim(bottom=0)


def _draw_gradients(axes: Axes, own: pd.DataFrame) -> None:
    sources: Sequence[str] = same_vocabulary(own) or sorted({v.partition(" noise=")[0] for v in own["variant"]})
    for loss, colour in LOSSES.items():
        chosen = own[(own["subject"] == loss) & own["variant"].str.startswith(f"{sources[0]} noise=")]
        for variant, part in chosen.groupby("variant", sort=False):
            plain = str(variant).endswith("noise=0")
            line = part.groupby("item")["value"].mean()
            width, label = (1.8, loss) if plain else (0.5, None)
            axes.plot(line.index, line.to_numpy(), "-", color=colour, linewidth=width, label=label)
    axes.set_yscale("log")
