"""The items on which graders differ: the numbers of each pair of graders, and the items with all verdicts."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gldbench.compare.disagree import Kind, Pair, Verdict, compare_graders, kinds_of
from gldbench.grade import GRADERS
from gldbench.items.records import Answer, Items, ItemView
from gldbench.schema import Task
from gldbench.tasks import load_task
from gldfusion.files import atomic_write

FILE = "disagreements.jsonl"
"""name of the file of items, where none is given"""
_EXAMPLE = 28
"""characters of each text in the table of kinds: its end, where answers stand"""


@dataclass(frozen=True)
class Difference:
    """A response on which graders differ."""

    task: str
    subject: str
    view: ItemView
    output: str | None
    verdicts: dict[str, Verdict]
    kinds: tuple[Kind, ...]


@dataclass(frozen=True)
class Differences:
    """All pairs of graders, and the responses on which they differ."""

    pairs: tuple[Pair, ...]
    items: tuple[Difference, ...]


def find_differences(items: Items) -> Differences:
    """Compares the graders of stored or scored items, task by task. A grader is represented by its own headline."""
    responses: dict[str, dict[str, tuple[str, ItemView, Answer, dict[str, Verdict]]]] = defaultdict(dict)
    for view in items.items:
        task = load_task(view.task)
        for side, answer in zip(items.sides, view.answers, strict=True):
            if answer is not None:
                key = json.dumps([side, view.variant, view.item])
                responses[view.task][key] = side, view, answer, _verdicts(task, answer)
    pairs: list[Pair] = []
    found = []
    for name, own in responses.items():
        pairs += compare_graders(name, {key: verdicts for key, (*_, verdicts) in own.items()})
        for side, view, answer, verdicts in own.values():
            if kinds := kinds_of(verdicts):
                found.append(
                    Difference(
                        task=name,
                        subject=side,
                        view=view,
                        output=answer.output,
                        verdicts=verdicts,
                        kinds=tuple(kinds),
                    )
                )
    return Differences(tuple(pairs), tuple(found))


def _verdicts(task: Task, answer: Answer) -> dict[str, Verdict]:
    """Each grader's verdict on the whole item, under its own headline."""
    found = {}
    for mark in answer.marks:
        grader = GRADERS.get(mark.grader)
        if grader is not None and not mark.part and (mark.filter, mark.metric) == grader.headline(task):
            found[mark.grader] = Verdict(
                value=mark.value, status=mark.status, how=mark.how, found=mark.found, reason=mark.reason
            )
    return found


def items_of(differences: Differences, items: Items) -> Items:
    """Only the items on which graders differ."""
    keep = {id(one.view) for one in differences.items}
    return dataclasses.replace(items, items=tuple(view for view in items.items if id(view) in keep))


def write_differences(differences: Differences, path: Path) -> None:
    """Writes the items as JSON lines: prompt, output, gold answers, and what each grader found and judged."""
    with atomic_write(path) as file:
        for one in differences.items:
            file.write(json.dumps(_record(one), ensure_ascii=False).encode() + b"\n")


def _record(one: Difference) -> dict[str, Any]:
    return {
        "task": one.task,
        "subject": one.subject,
        "variant": one.view.variant,
        "item": one.view.item,
        "prompt": one.view.prompt,
        "output": one.output,
        "gold": one.view.gold,
        "verdicts": {name: {"right": own.right, **dataclasses.asdict(own)} for name, own in one.verdicts.items()},
        "kinds": [dataclasses.asdict(kind) for kind in one.kinds],
    }


def as_json(differences: Differences) -> dict[str, Any]:
    """The pairs as JSON types, and the number of responses on which any two graders differ."""
    pairs = [dataclasses.asdict(pair) | {"lenient": pair.lenient or None} for pair in differences.pairs]
    return {"pairs": pairs, "differ": len(differences.items)}


KIND_HEADER = ("task", "right by", "wrong by", "kind", "n", "e.g. item", "output", "1st found", "2nd found", "gold")


def kind_table(differences: Differences) -> Iterator[tuple[str, ...]]:
    """Rows below KIND_HEADER: how often two graders differ in the same way, the most frequent first for each task."""
    groups: dict[tuple[str, Kind], list[Difference]] = defaultdict(list)
    for one in differences.items:
        for kind in one.kinds:
            groups[one.task, kind].append(one)
    tasks = list(dict.fromkeys(one.task for one in differences.items))
    for (task, kind), own in sorted(groups.items(), key=lambda group: (tasks.index(group[0][0]), -len(group[1]))):
        shown = min(own, key=lambda one: len(one.output or ""))
        found = (shown.verdicts[name].found for name in (kind.right, kind.wrong))
        texts = (shown.view.item, shown.output or "", *found, shown.view.gold)
        yield (task, kind.right, kind.wrong, kind.text, str(len(own)), *map(_short, texts))


PAIR_HEADER = ("task", "A", "B", "n", "agreement", "kappa", "only A right", "only B right", "no grade", "more lenient")


def pair_table(pairs: Sequence[Pair]) -> Iterator[tuple[str, ...]]:
    """Rows below PAIR_HEADER, one for each pair."""
    for pair in pairs:
        yield (
            *(pair.task, pair.a, pair.b, str(pair.n)),
            *("undefined" if value is None else f"{value:.3f}" for value in (pair.agreement, pair.kappa)),
            *(str(count) for count in (pair.a_only, pair.b_only, pair.ungraded)),
            pair.lenient,
        )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _EXAMPLE else f"...{line[3 - _EXAMPLE :]}"
