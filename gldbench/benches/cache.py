"""Measures size and speed of the source cache on a synthetic corpus, which is written directly into shards.

    python -m gldbench.benches.cache                           a million tokens, texts of 512 tokens, k = 10
    python -m gldbench.benches.cache --json --folder DIR       keeps the caches in DIR, for `gldbench cache stat`

Three caches hold the same logits: one only values, one values and ids, one all columns. The largest logit is near 30,
and the gaps to the others are those of confident language models. Sizes count all files of a cache. One process with
one thread reads; the files are in the memory of the system (page cache).
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gldbench.benches.command_line import Script, require_writable
from gldbench.benches.write_rows import row, write
from gldbench.console import reporter
from gldbench.jobs import Report
from gldbench.schema import Row
from gldbench.timing import pinned_threads
from gldfusion.cache import SourceCache, cache_stat, verify_cache
from gldfusion.cache.build import create_cache
from gldfusion.cache.columns import OPTIONAL, pack_signals
from gldfusion.cache.shards import write_shard
from gldfusion.cache.store import FORMAT, row_key
from gldfusion.errors import InputError
from gldfusion.files import hash_json
from gldfusion.sources import Example, SequenceSignal

VOCABULARY = 151_936
"""size of the vocabulary; its ids need 18 bits"""
KINDS: dict[str, tuple[str, ...]] = {"values": (), "values and ids": ("ids",), "all columns": OPTIONAL}
"""name of a cache -> its optional columns"""
BATCH = 64
"""texts that are read at once"""
UNITS = {"bytes_per_token": "B", "total_variation": "1", "tokens": "1", "verify": "s", "open": "s"}
"""metric -> unit; all other metrics are tokens per second"""


def texts(tokens: int, length: int) -> list[Example]:
    """Makes texts of `length` labelled positions, as many as `tokens` needs."""
    return [Example(str(i), f"text {i}", "made") for i in range(-(-tokens // length))]


def signals(examples: Sequence[Example], length: int, k: int) -> Iterator[SequenceSignal]:
    """Draws the output of a source for each text, from the number of the text. Labels have 4 bytes on average."""
    for example in examples:
        random = np.random.default_rng(int(example.id))
        gaps = random.exponential(0.25, size=(length, k)).cumsum(axis=1) - 0.1
        values = (30 - gaps).astype(np.float32)
        top = values[:, 0]
        yield SequenceSignal(
            values=values,
            ids=random.integers(VOCABULARY, size=(length, k)),
            lse=top + np.float32(0.1),
            mean=top - np.float32(20),
            std=top / np.float32(10),
            starts=np.cumsum(random.poisson(3, size=length) + 1) - 1,
            nll=random.exponential(size=length).astype(np.float32),
        )


def make(cache: Path, examples: Sequence[Example], length: int, k: int, columns: Sequence[str], shard: int) -> float:
    """Writes a cache; returns the seconds that packing and writing took, without the drawing of logits.

    Args:
        cache: folder of the cache; it must not exist.
        examples: the texts.
        length: labelled positions of each text.
        k: logits to store per position.
        columns: optional columns to store.
        shard: texts per shard.
    """
    content = hash_json(["synthetic", length, k])
    meta = {"format": FORMAT, "checkpoint": content, "model": content, "tokenizer": content, "template": content}
    meta |= {"dtype": "float32", "max_length": length, "content": content, "k": k}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_tokenizer())
    create_cache(cache, tokenizer, VOCABULARY, meta, columns)
    seconds = 0.0
    for first in range(0, len(examples), shard):
        part = examples[first : first + shard]
        drawn = list(signals(part, length, k))
        started = time.perf_counter()
        write_shard(cache, pack_signals([row_key(content, e) for e in part], drawn, columns, VOCABULARY))
        seconds += time.perf_counter() - started
    return seconds


def _tokenizer() -> Tokenizer:
    """A tokenizer that splits at spaces, with an entry for each id."""
    tokenizer = Tokenizer(models.WordLevel({f"token-{i}": i for i in range(VOCABULARY)}, unk_token="token-0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer


def total_variation(cache: SourceCache, examples: Sequence[Example], length: int) -> float:
    """The largest total variation, over all positions, between softmax of the drawn and of the stored logits."""
    worst = 0.0
    for example, made in zip(examples, signals(examples, length, cache.k), strict=True):
        p, q = (np.exp(x.astype(np.float64) - 30) for x in (made.values, cache.read([example])[0].values))
        worst = max(worst, float(np.abs(p / p.sum(1, keepdims=True) - q / q.sum(1, keepdims=True)).sum(1).max() / 2))
    return worst


def seconds_of(function: Callable[[], Any], repeats: int) -> float:
    """The median seconds of `repeats` calls, after one call that is not timed."""
    function()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return median(taken)


def measure(cache: Path, examples: Sequence[Example], length: int, repeats: int) -> dict[str, float]:
    """Measures a cache; returns metric -> value, in the units of UNITS."""
    stat = cache_stat(cache)
    read, broken = verify_cache(cache)
    if broken:
        raise InputError(f"{cache}: {len(broken)} of {read} shards are broken, the first: {broken[0].problem}")
    opened = SourceCache("synthetic", cache)
    shuffled = [examples[i] for i in np.random.default_rng(0).permutation(len(examples))]

    def read_all(order: Sequence[Example]) -> None:
        for first in range(0, len(order), BATCH):
            opened.read(order[first : first + BATCH])

    return {
        "tokens": stat["tokens"],
        "bytes_per_token": stat["bytes_per_token"],
        "total_variation": total_variation(opened, examples, length),
        "open": seconds_of(lambda: SourceCache("synthetic", cache), repeats),
        "verify": seconds_of(lambda: verify_cache(cache), repeats),
        "read_sequential": stat["tokens"] / seconds_of(lambda: read_all(examples), repeats),
        "read_random": stat["tokens"] / seconds_of(lambda: read_all(shuffled), repeats),
    }


def run(folder: Path, given: Namespace, report: Report) -> dict[str, dict[str, float]]:
    """Writes and measures the cache of each kind; returns kind -> metric -> value.

    Args:
        folder: where the caches go.
        given: the options tokens, length, k, shard and repeats.
        report: called with each cache, before and after it.
    """
    examples = texts(given.tokens, given.length)
    for kind in KINDS:
        report(kind, 0, 1)
    found = {}
    for kind, columns in KINDS.items():
        cache = _path(folder, kind)
        seconds = make(cache, examples, given.length, given.k, columns, given.shard)
        found[kind] = measure(cache, examples, given.length, given.repeats)
        found[kind]["write"] = found[kind]["tokens"] / seconds
        report(kind, 1, 1)
    return found


def _path(folder: Path, kind: str) -> Path:
    return folder / kind.replace(" ", "-")


def as_rows(found: dict[str, dict[str, float]], variant: str) -> list[Row]:
    """Makes one row for each number."""
    rows = [
        row("cache", variant, kind, metric, value, UNITS.get(metric, "tokens/s"))
        for kind, values in found.items()
        for metric, value in values.items()
    ]
    return [dataclasses.replace(r, suite="cache") for r in rows]


def _script() -> Script:
    script = Script("cache", __doc__)
    script.whole("--tokens", 1_000_000, "Labelled positions of all texts together, at least.", quick=8192)
    script.whole("--length", 512, "Labelled positions of each text.", quick=128)
    script.whole("--k", 10, "Number of largest logits to store per position.")
    script.whole("--shard", 2048, "Texts per shard.")
    script.whole("--repeats", 7, "Samples of each time.", quick=3)
    script.option("--folder", None, "Keep the caches in this folder.", type=Path, metavar="FOLDER")
    script.output(None)
    return script


def _work(given: Namespace) -> int:
    if given.k > VOCABULARY:
        raise InputError(f"--k: expected at most {VOCABULARY}, the size of the vocabulary, got {given.k}")
    require_writable(given.folder, "--folder")
    there = [path for path in (_path(given.folder, kind) for kind in KINDS) if path.exists()] if given.folder else []
    if there:
        raise InputError(f"--folder: {there[0]} exists already\nremove it, or name another folder")
    scratch = tempfile.TemporaryDirectory() if given.folder is None else nullcontext(given.folder)
    with scratch as folder, pinned_threads(1), reporter("bench cache") as report:
        found = run(Path(folder), given, report)
    if given.output:
        rows = as_rows(found, f"T{given.length} k{given.k}")
        write(rows, given.output, "bench_cache", threads=1, quick=given.quick)
    if given.json:
        print(json.dumps(found, indent=2))
        return 0
    for kind, values in found.items():
        print(kind)
        for metric, value in values.items():
            print(f"  {metric:18s} {value:14.4g} {UNITS.get(metric, 'tokens/s')}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
