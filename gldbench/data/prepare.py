"""Prepares training data: reads the parts, takes out what benchmarks contain, draws examples, filters code, reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gldbench.data.config import Preparation, PreparedPart
from gldbench.data.decontaminate import Benchmarks
from gldbench.data.failing import Filter
from gldbench.data.report import as_markdown
from gldbench.store import Store
from gldfusion.errors import InputError
from gldfusion.examples import record_examples
from gldfusion.files import atomic_dir, lock, remove, remove_leftovers, write_json
from gldfusion.paths import hidden, require_output
from gldfusion.progress import Progress
from gldfusion.sources import Example

CHUNK = 64
"""the fewest records that are filtered at once: a model is loaded for each chunk"""
Pair = tuple[Example, Mapping[str, Any]]


@dataclass(frozen=True)
class _Drawn:
    """The examples of one part, and what became of the others."""

    examples: list[Example]
    report: dict[str, Any]


def prepare(
    settings: Preparation,
    output: Path,
    data: Path | Literal["hub"] | None,
    *,
    allow_changed: bool = False,
    backend: str = "hf",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes the folder `output` with train.jsonl, report.json and report.md. After an error there is no such folder.

    Answers of a filter's model are kept in a hidden folder beside the output until it is complete. The same call uses
    them after an interruption.

    Args:
        settings: the configuration.
        output: the folder. It must not exist.
        data: folder with the files of the benchmarks, or "hub". Not needed without decontamination.
        allow_changed: accept files of benchmarks with another checksum.
        backend: what runs the model of a filter: a key of `generate.BACKENDS`.
        progress: called with (answers that are there, answers in all) of the chunk that is being filtered.

    Returns:
        The content of report.json.

    Raises:
        InputError: a file or a setting is wrong, or there is no sandbox for a filter.
    """
    if require_output(output).exists():
        raise InputError(f"will not overwrite {output}: it is already there\nmove it away or choose another output")
    if settings.decontaminate is not None and data is None:
        raise InputError(
            "decontamination needs the files of the benchmarks\n"
            'name their folder with --data (or --data hub), or write "decontaminate: null" in the configuration'
        )
    with lock(hidden(output, "lock")):
        remove_leftovers(output)
        benchmarks = None
        if settings.decontaminate is not None and data is not None:
            benchmarks = Benchmarks(settings.decontaminate, data, allow_changed)
        store = Store(hidden(output, "state"))
        store.settle()
        seen: set[bytes] = set()
        drawn = [
            _draw(part, number, settings, benchmarks, seen, store, backend, progress)
            for number, part in enumerate(settings.parts)
        ]
        report = _report(settings, drawn, benchmarks)
        with atomic_dir(output) as folder:
            lines = [json.dumps(_record(e), ensure_ascii=False) + "\n" for part in drawn for e in part.examples]
            (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
            write_json(folder / "report.json", report)
            (folder / "report.md").write_text(as_markdown(report), encoding="utf-8")
        remove(hidden(output, "state"))
    return report


def _draw(
    part: PreparedPart,
    number: int,
    settings: Preparation,
    benchmarks: Benchmarks | None,
    seen: set[bytes],
    store: Store,
    backend: str,
    progress: Progress | None,
) -> _Drawn:
    """Goes through the records of a part in random order until enough are kept. Kept examples keep the file's order."""
    pairs = [(replace(e, id=f"{part.name}/{e.id}"), record) for e, record in record_examples(part)]
    order = np.random.default_rng([settings.seed, number]).permutation(len(pairs)).tolist()
    place = {example.key: i for i, (example, _) in enumerate(pairs)}
    counts = {"records": len(pairs), "repeated": 0, "contaminated": 0}
    clean = _clean((pairs[i] for i in order), counts, benchmarks, seen)
    kept: list[Example] = []
    wanted = part.take or len(pairs)
    filter_ = Filter(part.failed_by, store, settings.seed, backend) if part.failed_by else None
    while len(kept) < wanted:
        missing = wanted - len(kept)
        chunk = _next(clean, missing if filter_ is None else max(CHUNK, 2 * missing))
        if not chunk:
            break
        kept += [e for e, _ in chunk] if filter_ is None else filter_.failing(chunk, progress)
    kept = sorted(kept[:wanted], key=lambda e: place[e.key])
    report = {"part": part.name, "asked": part.take, "taken": len(kept), **counts}
    if filter_ is not None:
        report["failed_by"] = {"checkpoint": filter_.checkpoint.name, **filter_.filtered.counts}
    return _Drawn(kept, report)


def _clean(
    pairs: Iterator[Pair], counts: dict[str, int], benchmarks: Benchmarks | None, seen: set[bytes]
) -> Iterator[Pair]:
    """Leaves out examples that were there before, and those that share words with a benchmark."""
    for example, record in pairs:
        if example.key in seen:
            counts["repeated"] += 1
        elif benchmarks is not None and benchmarks.contaminated(example):
            counts["contaminated"] += 1
        else:
            seen.add(example.key)
            yield example, record


def _next(pairs: Iterator[Pair], count: int) -> list[Pair]:
    return [pair for _, pair in zip(range(count), pairs, strict=False)]


def _record(example: Example) -> dict[str, Any]:
    """An example as a line of training data."""
    if example.chat:
        return {"id": example.id, **json.loads(example.chat)}
    if example.history:
        return {"id": example.id, "messages": example.messages}
    return {"id": example.id, "prompt": example.prompt, "response": example.response}


def _report(settings: Preparation, drawn: Sequence[_Drawn], benchmarks: Benchmarks | None) -> dict[str, Any]:
    return {
        "configuration": settings.model_dump(mode="json"),
        "examples": sum(len(part.examples) for part in drawn),
        "parts": [part.report for part in drawn],
        "benchmarks": {}
        if benchmarks is None
        else {
            name: {
                "items": found.items,
                "items_too_short": found.unchecked,
                "items_hit": len(found.hit),
                "examples_removed": found.examples,
                "shown": found.shown,
            }
            for name, found in benchmarks.found.items()
        },
    }
