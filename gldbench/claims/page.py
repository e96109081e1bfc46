"""Writes the judged claims as one HTML page without external files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from gldbench.report.page import TEMPLATES as REPORT_TEMPLATES
from gldbench.report.page import colours

TEMPLATES = Path(__file__).parent / "templates"
VERDICTS = {
    "fails": "The rows contradict the claim.",
    "vacuous": "The claim is true, and says nothing: something trivial satisfies it too.",
    "undecided": "The rows do not settle the claim.",
    "holds": "The rows support the claim.",
}
"""verdict -> what it means, in the order of the page"""


def page(judged: Sequence[Mapping[str, Any]], found: Sequence[str]) -> str:
    """Returns the HTML text of the page.

    Args:
        judged: what `claims.judged` returns.
        found: places of the rows, one line each.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([TEMPLATES, REPORT_TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    groups = {verdict: [claim for claim in judged if claim["verdict"] == verdict] for verdict in VERDICTS}
    return environment.get_template("claims.html.j2").render(
        groups=groups, meanings=VERDICTS, summary=summary(judged), found=found, colours=colours()
    )


def summary(judged: Sequence[Mapping[str, Any]]) -> str:
    """How many claims have which verdict, in a sentence."""
    counts = Counter(claim["verdict"] for claim in judged)
    parts = [f"{counts[verdict]} {_plural(verdict, counts[verdict])}" for verdict in VERDICTS if counts[verdict]]
    return f"Of {len(judged)} claims " + ", ".join(parts) + "."


def _plural(verdict: str, number: int) -> str:
    verbs = {"fails": ("fails", "fail"), "holds": ("holds", "hold")}
    be = ("is", "are")[number != 1]
    return verbs[verdict][number != 1] if verdict in verbs else f"{be} {verdict}"
