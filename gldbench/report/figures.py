"""The figures of the report. A method has the same colour in all of them. Labels beside the marks replace a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gldbench.report import names
from gldbench.report.analysis import Analysis
from gldbench.report.costs import Cost, frontier
from gldbench.report.gate import MARGIN
from gldbench.report.names import INK, MUTED, PAPER, RULE, Style
from gldbench.report.svg import SETTINGS, WIDTH, Picture, picture
from gldbench.report.training import Curve, Spread, Training, curves, loss_terms, unit_of
from gldbench.schema import Estimate, Row

LABEL = 0.145
"""distance in inches between the labels of two lines or points"""
ROW = 0.235
"""distance in inches between two rows of a figure with one row per method"""
TOP, BOTTOM, RIGHT = 0.12, 0.47, 0.62
"""margins in inches; the right margin holds the values"""


def draw_all(
    analysis: Analysis, rows: Sequence[Row], trained: Sequence[Training], spent: Sequence[Cost] = ()
) -> list[Picture]:
    """Draws all figures that have numbers, in the order of the page."""
    fused = [t for t in trained if names.group_of(t.method) != "reference"]
    methods = [score.method for score in analysis.scores]
    look = names.styles(sorted({*methods, *(t.method for t in trained)}))
    with mpl.rc_context(SETTINGS):
        pictures = [_means(analysis, look)]
        if analysis.differences:
            pictures.append(_differences(analysis, look))
        pictures += _losses(rows, look)
        if any(len(t.shares) > 1 for t in fused):
            pictures.append(_shares(fused, look))
        pictures += [
            _cost(fused, look, "seconds", 1, "training time of a checkpoint (seconds)", "Time"),
            _cost(fused, look, "peak_memory_bytes", 2**20, "peak memory of a training process (MiB)", "Memory"),
        ] * bool(fused)
        if len({cost.flops for cost in spent}) > 1:
            pictures.append(_pareto(analysis, spent, look))
    return pictures


def _pareto(analysis: Analysis, spent: Sequence[Cost], look: Mapping[str, Style]) -> Picture:
    points = {
        c.method: (c.flops / 1e12, 100 * s.mean.corrected.value) for c in spent if (s := analysis.score(c.method))
    }
    figure = Figure((WIDTH, height := _height(len(points))))
    right = max(1.23, 0.15 + 0.07 * max(map(len, points)))  # inches that the names need
    axes = figure.add_axes((0.52 / WIDTH, BOTTOM / height, 1 - (0.52 + right) / WIDTH, 1 - (TOP + BOTTOM) / height))
    best = frontier(points)
    axes.plot(*zip(*(points[method] for method in best), strict=True), color=MUTED, linewidth=0.8, zorder=1)
    for method, (x, y) in points.items():
        style = look[method]
        face = PAPER if style.hollow else style.colour
        axes.plot([x], [y], "o", markersize=5.5, color=style.colour, markerfacecolor=face, zorder=3)
    _open(axes)
    axes.grid(color=RULE, linewidth=0.8)
    axes.set_xlabel("cost of a checkpoint, pivot and sources (10¹² FLOPs)")
    axes.set_ylabel("mean score (%)")
    axes.margins(0.06, 0.12)
    low, high = axes.get_ylim()
    gap = LABEL / (height - TOP - BOTTOM) * (high - low)
    heights = _spread_labels({m: y for m, (_, y) in points.items()}, low, high, gap)
    for method, y in heights.items():
        place, colour = (1.05, (y - low) / (high - low)), look[method].colour
        leader = {"arrowstyle": "-", "relpos": (0, 0.5), "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 1}
        axes.annotate(
            method, points[method], place, "data", "axes fraction", leader, va="center", fontsize=8, color=colour
        )
    listed = ", ".join(f"{m} {x:.2f} for {y:.1f}" for m, (x, y) in points.items())
    caption = (
        "Chance-corrected mean score against FLOPs. The line joins the methods that no other method beats in both. "
        "The training of the sources is not counted. Hollow marks are controls."
    )
    return picture("pareto", "Cost against quality", caption, f"FLOPs (10¹²) and mean scores: {listed}", figure)


def _means(analysis: Analysis, look: Mapping[str, Style]) -> Picture:
    figure, axes, places = _row_axes([score.method for score in analysis.scores])
    for score, y in zip(analysis.scores, places, strict=True):
        _interval(axes, score.mean.corrected, y, look[score.method], "{:.1f}")
    axes.set_xlabel("chance-corrected exact match, mean over families (%)")
    low = min(score.mean.corrected.low for score in analysis.scores)
    axes.set_xlim(*_padded(min(0.0, 100 * low), 100))
    listed = ", ".join(f"{score.method} {100 * score.mean.corrected.value:.1f}" for score in analysis.scores)
    order = (
        "Fusion methods are sorted by mean score, highest first."
        if analysis.gate.passes
        else "All lines are in a fixed order, because the world gate failed."
    )
    caption = f"Mean over {len(analysis.averaged)} families with its 95% interval. {order} Hollow marks are controls."
    return picture("means", "Mean scores", caption, f"Chance-corrected means in percent: {listed}", figure)


def _differences(analysis: Analysis, look: Mapping[str, Style]) -> Picture:
    compared = [difference.comparison for difference in analysis.differences]
    figure, axes, places = _row_axes([comparison.candidate for comparison in compared])
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.axvline(100 * MARGIN, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    for comparison, y in zip(compared, places, strict=True):
        _interval(axes, comparison.difference, y, look[comparison.candidate], "{:+.1f}")
    axes.set_xlabel(f"difference to {names.BASELINE} (points)")
    listed = ", ".join(f"{c.candidate} {100 * c.difference.value:+.1f}" for c in compared)
    caption = (
        "Differences on the same seeds and items, with 95% intervals. "
        f"The dashed line marks the {100 * MARGIN:g} points that the positive control must reach."
    )
    return picture(
        "differences", f"Differences to {names.BASELINE}", caption, f"Differences in points: {listed}", figure
    )


def _losses(rows: Sequence[Row], look: Mapping[str, Style]) -> list[Picture]:
    """One figure for each loss term, and one for the whole objective."""
    pictures = []
    for term in loss_terms(rows):
        lines = _compared(curves(rows, f"loss/{term}"))
        if not lines:
            continue
        caption = (
            f"The {term} term multiplied by its weight, as the objective contains it. The line is the mean over seeds, "
            "the band reaches from the lowest to the highest seed."
        )
        pictures.append(
            _lines(f"loss-{term}", f"Loss, {term} term", caption, lines, look, unit_of(rows, f"loss/{term}"))
        )
    whole = _compared(curves(rows, "loss"))
    if whole:
        caption = (
            "The weighted sum that each method minimises. Methods minimise different sums: compare the shapes of the "
            "curves, not their heights."
        )
        pictures.append(_lines("loss", "Loss, whole objective", caption, whole, look, unit_of(rows, "loss")))
    return pictures


def _compared(lines: Mapping[str, Curve]) -> dict[str, Curve]:
    """The curves of fused methods, without controls: these would lie on the curve of the method that they control."""
    return {
        method: curve
        for method, curve in lines.items()
        if names.group_of(method) != "reference" and not names.controlled(method)
    }


def _lines(
    name: str, title: str, caption: str, lines: Mapping[str, Curve], look: Mapping[str, Style], unit: str
) -> Picture:
    figure = Figure((WIDTH, height := _height(len(lines))))
    left, right = 0.52, max(0.95, 0.15 + 0.07 * max(map(len, lines)))
    axes = figure.add_axes((left / WIDTH, BOTTOM / height, 1 - (left + right) / WIDTH, 1 - (TOP + BOTTOM) / height))
    for method, curve in lines.items():
        colour = look[method].colour
        axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(curve.steps, curve.mean, color=colour, linewidth=1.5)
    _open(axes)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_xlim(left=0)
    axes.set_xlabel("training step")
    axes.set_ylabel(f"loss ({unit})" if unit else "loss")
    low, high = axes.get_ylim()
    ends = {method: float(curve.mean[-1]) for method, curve in lines.items()}
    last = max(float(curve.steps[-1]) for curve in lines.values())
    gap = LABEL / (height - TOP - BOTTOM) * (high - low)
    for method, y in _spread_labels(ends, low, high, gap).items():
        place, colour = (1.05, (y - low) / (high - low)), look[method].colour
        leader = {"arrowstyle": "-", "relpos": (0, 0.5), "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 1}
        end = (last, ends[method])
        axes.annotate(method, end, place, "data", "axes fraction", leader, va="center", fontsize=8, color=colour)
    listed = ", ".join(f"{method} ends at {value:.3g}" for method, value in ends.items())
    return picture(name, title, caption, f"{title} over training steps: {listed}", figure)


def _height(labels: int) -> float:
    """The height in inches of a figure whose lines or points have so many labels beside it."""
    return max(2.5, TOP + BOTTOM + LABEL * labels)


def _spread_labels(ends: Mapping[str, float], low: float, high: float, gap: float) -> dict[str, float]:
    """Heights of the labels of lines that end at `ends`: in the same order, `gap` apart, inside [low, high]."""
    order = sorted(ends, key=ends.__getitem__)
    heights: list[float] = []
    for method in order:
        heights.append(max(ends[method], heights[-1] + gap) if heights else ends[method])
    ceiling = high
    for place in reversed(range(len(heights))):
        heights[place] = min(heights[place], ceiling)
        ceiling = heights[place] - gap
    floor_shift = max(0.0, low - heights[0]) if heights else 0.0
    return {method: height + floor_shift for method, height in zip(order, heights, strict=True)}


def _shares(trained: Sequence[Training], look: Mapping[str, Style]) -> Picture:
    several = [t for t in trained if len(t.shares) > 1 and not names.controlled(t.method)]
    bars = [(t.method, term, spread) for t in several for term, spread in t.shares.items()]
    labels = [f"{method}: {term}" for method, term, _ in bars]
    figure, axes, places = _row_axes(labels, groups=[method for method, _, _ in bars])
    for (method, _, spread), y in zip(bars, places, strict=True):
        _bar(axes, spread, y, look[method], 0.01, "{:.0f}%")
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the gradient (%)")
    listed = ", ".join(f"{method} {term} {100 * spread.mean:.0f}%" for method, term, spread in bars)
    caption = (
        "The gradient norm of each term, divided by the sum of these norms over all terms, as the mean over the logged "
        "steps. The line reaches from the lowest to the highest seed. Methods with one term are left out."
    )
    return picture("gradient-shares", "Gradient shares", caption, f"Shares of the gradient: {listed}", figure)


def _cost(
    trained: Sequence[Training], look: Mapping[str, Style], metric: str, scale: float, label: str, title: str
) -> Picture:
    measured = [t for t in trained if metric in t.totals]
    figure, axes, places = _row_axes([t.method for t in measured])
    for t, y in zip(measured, places, strict=True):
        _bar(axes, t.totals[metric], y, look[t.method], scale, "{:,.0f}")
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    listed = ", ".join(f"{t.method} {t.totals[metric].mean / scale:,.0f}" for t in measured)
    caption = "Mean over seeds. The line reaches from the lowest to the highest seed."
    return picture(title.lower(), title, caption, f"{label}: {listed}", figure)


def _row_axes(labels: Sequence[str], groups: Sequence[str] | None = None) -> tuple[Figure, Axes, np.ndarray]:
    """Makes axes with one labelled row for each of `labels` and a gap between groups.

    Returns:
        The figure, its axes, and the height of each row.
    """
    groups = [names.group_of(label) for label in labels] if groups is None else groups
    changes = np.cumsum([0] + [a != b for a, b in pairwise(groups)])
    places = np.arange(len(labels)) + 0.5 * changes
    span = float(places[-1]) + 1 if len(labels) else 1.0
    height = span * ROW + TOP + BOTTOM
    left = 0.12 + 0.067 * max(map(len, labels), default=0)
    figure = Figure((WIDTH, height))
    axes = figure.add_axes((left / WIDTH, BOTTOM / height, 1 - (left + RIGHT) / WIDTH, span * ROW / height))
    axes.set_ylim(span - 0.5, -0.5)
    axes.set_yticks(places, [names.label_of(label) for label in labels])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    _open(axes)
    axes.spines["left"].set_visible(False)
    return figure, axes, places


def _open(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    axes.tick_params(axis="y", length=0)


def _interval(axes: Axes, estimate: Estimate, y: float, style: Style, form: str) -> None:
    """Draws a point with its interval, in percent, and writes the value at the right edge."""
    axes.plot(
        [100 * estimate.low, 100 * estimate.high], [y, y], color=style.colour, linewidth=1.6, solid_capstyle="butt"
    )
    face = PAPER if style.hollow else style.colour
    axes.plot([100 * estimate.value], [y], "o", markersize=5.5, color=style.colour, markerfacecolor=face, zorder=3)
    _value(axes, y, form.format(100 * estimate.value))


def _bar(axes: Axes, spread: Spread, y: float, style: Style, scale: float, form: str) -> None:
    """Draws a bar with the range over seeds, and writes the value at the right edge."""
    if not style.hollow:
        axes.barh(y, spread.mean / scale, height=0.62, color=style.colour, alpha=0.35)
    axes.barh(y, spread.mean / scale, height=0.62, color="none", edgecolor=style.colour, linewidth=1.0)
    axes.plot(
        [spread.low / scale, spread.high / scale], [y, y], color=style.colour, linewidth=2.0, solid_capstyle="butt"
    )
    _value(axes, y, form.format(spread.mean / scale))


def _padded(low: float, high: float) -> tuple[float, float]:
    """Limits of an axis on which a mark at either end is not cut."""
    pad = 0.03 * (high - low)
    return low - pad, high + pad


def _value(axes: Axes, y: float, text: str) -> None:
    axes.text(1.04, y, text.replace("-", "−"), transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=INK)
