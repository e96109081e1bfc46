"""Renders a figure twice: as PNG on white, and as SVG that takes colours and font from the page."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from gldbench.report.names import DARK, MUTED, RULE

WIDTH = 4.6
"""inches (442 px on the page): text is readable on a phone, and two figures fit beside each other on a desktop"""
SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "svg.fonttype": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.labelsize": 8,
    "path.simplify": False,
}


@dataclass(frozen=True)
class Picture:
    """A rendered figure."""

    name: str
    """file name without extension, and anchor on the page"""
    title: str
    caption: str
    alt: str
    """text for readers who cannot see the figure"""
    svg: str
    png: bytes


def variable(colour: str) -> str:
    """The CSS variable of `colour` on the page."""
    return f"--c{colour.removeprefix('#')}"


def picture(name: str, title: str, caption: str, alt: str, figure: Figure) -> Picture:
    """Renders `figure`. Equal figures give equal bytes, on any day and in any process."""
    settings: dict[Any, Any] = {**SETTINGS, "svg.hashsalt": name}
    with mpl.rc_context(settings):
        text, image = io.StringIO(), io.BytesIO()
        figure.savefig(text, format="svg", transparent=True)
        figure.savefig(image, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return Picture(
        name=name,
        title=title,
        caption=caption,
        alt=alt,
        svg=_for_page(text.getvalue(), name, alt),
        png=image.getvalue(),
    )


def _for_page(svg: str, name: str, alt: str) -> str:
    """Cuts out the <svg> element: page colours and font, ids that no other figure has, and no date."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r'font-family: [^;"]*', "font-family: var(--sans)", svg)
    for colour in DARK:
        svg = svg.replace(colour, f"var({variable(colour)})")
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
