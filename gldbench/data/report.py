"""The report of a preparation, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report for people: how many examples each part gave, and what was removed because of which benchmark."""
    settings = report["configuration"]
    lines = [f"# Training data: {settings['name']}", "", f"{report['examples']} examples, seed {settings['seed']}.", ""]
    lines += [
        "| part | records | asked | taken | repeated | contaminated |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for part in report["parts"]:
        asked = "all" if part["asked"] is None else part["asked"]
        counts = (part["records"], asked, part["taken"], part["repeated"], part["contaminated"])
        lines.append(f"| {_cell(part['part'])} | {' | '.join(map(str, counts))} |")
    lines += [
        "",
        "Examples are drawn in random order until enough are taken. The columns repeated and contaminated count those "
        "that were met on the way.",
    ]
    for part in report["parts"]:
        if "failed_by" in part:
            own = dict(part["failed_by"])
            model = own.pop("checkpoint")
            lines += ["", f"Filter of {part['part']} by answers of {model}:", ""]
            lines += [f"- {name}: {count}" for name, count in own.items()]
    return "\n".join([*lines, *_benchmarks(report)]) + "\n"


def _benchmarks(report: Mapping[str, Any]) -> list[str]:
    settings = report["configuration"]["decontaminate"]
    if settings is None:
        return ["", "No decontamination."]
    lines = [
        "",
        "## Decontamination",
        "",
        f"An example is removed if it shares {settings['n']} words in a row with an item of a benchmark. A text of "
        f"an item with fewer words counts as a whole if it has at least {settings['shortest']}. Words are compared in "
        "lower case without punctuation, as in Brown et al. (2020), arXiv:2005.14165, appendix C.",
        "",
        "| benchmark | items | too short to compare | items hit | examples removed |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, own in report["benchmarks"].items():
        counts = (own["items"], own["items_too_short"], own["items_hit"], own["examples_removed"])
        lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
    shown = [(name, one) for name, own in report["benchmarks"].items() for one in own["shown"]]
    if shown:
        lines += ["", "Some of the removed examples:", "", "| benchmark | item | example | shared words |"]
        lines.append("| --- | --- | --- | --- |")
    return lines + [
        f"| {name} | {_cell(one['item'])} | {_cell(one['example'])} | {_cell(one['shared'])} |" for name, one in shown
    ]


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
