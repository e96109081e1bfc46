"""Finds training examples that contain a part of a benchmark's item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gldbench.data.config import Decontamination
from gldbench.data.grams import Runs, words_of
from gldbench.schema import Item
from gldbench.tasks import expand, load_items, load_task
from gldfusion.sources import Example

SHOWN = 5
"""so many removed examples of each benchmark are in the report"""


@dataclass
class Found:
    """What was removed because of one benchmark."""

    items: int
    """items of the benchmark"""
    unchecked: int
    """items whose texts are all too short to be compared"""
    examples: int = 0
    """training examples that were removed"""
    hit: set[str] = field(default_factory=set)
    """ids of the items that they share words with"""
    shown: list[dict[str, str]] = field(default_factory=list)
    """some of them: example, item, shared words"""


def item_texts(item: Item) -> list[str]:
    """The texts of an item's row that stand in its prompt: question and options, without instructions and examples."""
    return [text for text in _strings(item.record) if text.strip() and text in item.prompt]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


class Benchmarks:
    """The texts of some benchmarks."""

    def __init__(self, settings: Decontamination, data: Path | Literal["hub"], allow_changed: bool = False) -> None:
        """Reads the benchmarks.

        Args:
            settings: which benchmarks, and how runs of words are compared.
            data: folder with the files of the benchmarks, or "hub".
            allow_changed: accept files with another checksum.

        Raises:
            InputError: a benchmark is unknown, or its file is missing or differs.
        """
        self.runs: dict[str, Runs] = {}
        for name in expand(settings.tasks):
            items = load_items(load_task(name), data, allow_changed=allow_changed)
            self.runs[name] = Runs(((i.item_id, item_texts(i)) for i in items), settings.n, settings.shortest)
        self.found = {name: Found(runs.items, runs.unchecked) for name, runs in self.runs.items()}

    def contaminated(self, example: Example) -> bool:
        """Whether an example shares a run of words with an item. Every benchmark with such an item counts it."""
        words = [words_of(message.get("content") or "") for message in example.messages]
        hits = {name: [s for one in words for s in runs.shared(one)] for name, runs in self.runs.items()}
        for name, shared in hits.items():
            if not shared:
                continue
            own = self.found[name]
            own.examples += 1
            own.hit.update(one.item for one in shared)
            if len(own.shown) < SHOWN:
                own.shown.append({"example": example.id, "item": shared[0].item, "shared": shared[0].run})
        return any(hits.values())
