"""Writes items as one HTML page without external files. The data are JSON in the page; rows are drawn on demand.

Outputs of models are hostile. They reach the page only as JSON whose "<" is escaped, the script shows them only as
text nodes, and the page's security policy allows no other script, no request and no form.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import jinja2

from gldbench.items.records import Answer, Items
from gldbench.report.page import TEMPLATES as REPORT_TEMPLATES
from gldbench.report.page import colours

TEMPLATES = Path(__file__).parent / "templates"


def page(items: Items, title: str, back: str = "") -> str:
    """Returns the HTML text of the page.

    Args:
        items: the items, with any number of sides.
        title: heading of the page.
        back: address of the report that links to the page; empty: none.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([TEMPLATES, REPORT_TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = (TEMPLATES / "items.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data = json.dumps(_data(items), ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    return environment.get_template("items.html.j2").render(
        title=title, back=back, script=script, digest=digest, data=data, colours=colours()
    )


def _data(items: Items) -> dict[str, Any]:
    """The data in a short form: lists instead of objects, and each name of a grader, filter and metric once."""
    labels: dict[tuple[str, str, str, str], int] = {}

    def short(answer: Answer | None) -> list[Any] | None:
        if answer is None:
            return None
        marks = []
        headline = -1
        for place, mark in enumerate(answer.marks):
            label = labels.setdefault((mark.grader, mark.filter, mark.metric, mark.part), len(labels))
            marks.append([label, mark.value, mark.status, mark.how, mark.found, mark.reason])
            headline = place if mark is answer.headline else headline
        return [answer.output, answer.note, headline, marks]

    views = [[v.task, v.variant, v.item, v.prompt, v.gold, list(map(short, v.answers))] for v in items.items]
    return {"sides": list(items.sides), "items": views, "labels": [list(label) for label in labels]}
