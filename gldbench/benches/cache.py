"""Size and speed of the source cache on a synthetic corpus, written straight into shards.

    python -m gldbench.benches.cache                           a million tokens, texts of 512, k = 10
    python -m gldbench.benches.cache --json --folder DIR       the caches stay in DIR, for `gldbench cache stat`

Three caches hold the same logits (near 30, gaps as confident language models have them): values only, values and ids,
all columns. Every file counts in bytes per token. Reads come from the page cache, one process, one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gldbench.benches.write_rows import row, write
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
"""ids drawn from it need 18 bits"""
KINDS: dict[str, tuple[str, ...]] = {"values": (), "values and ids": ("ids",), "all columns": OPTIONAL}
BATCH = 64
"""texts read at once"""
UNITS = {"bytes_per_token": "B", "total_variation": "1", "tokens": "1", "verify": "s", "open": "s"}


def texts(tokens: int, length: int) -> list[Example]:
    """As many texts of `length` labelled positions as it takes."""
    return [Example(str(i), f"text {i}", "made") for i in range(-(-tokens // length))]


def signals(examples: Sequence[Example], length: int, k: int) -> Iterator[SequenceSignal]:
    """What a source might say of each text, drawn from the text's number alone. Labels are 4 bytes long on average."""
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
        )


def make(cache: Path, examples: Sequence[Example], length: int, k: int, columns: Sequence[str], shard: int) -> float:
    """Writes a cache; returns the seconds of packing and writing, without those of drawing logits."""
    content = hash_json(["synthetic", length, k])
    meta = {"format": FORMAT, "checkpoint": content, "model": content, "tokenizer": content, "template": content}
    meta |= {"dtype": "float32", "max_length": length, "content": content, "k": k}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_tokenizer())
    create_cache(cache, tokenizer, VOCABULARY, meta, columns)
    seconds = 0.0
    for first in range(0, len(examples), shard):
        part = examples[first : first + shard]
        said = list(signals(part, length, k))
        started = time.perf_counter()
        write_shard(cache, pack_signals([row_key(content, e) for e in part], said, columns, VOCABULARY))
        seconds += time.perf_counter() - started
    return seconds


def _tokenizer() -> Tokenizer:
    """Of single characters, with an entry for each id."""
    tokenizer = Tokenizer(models.WordLevel({f"token-{i}": i for i in range(VOCABULARY)}, unk_token="token-0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer


def total_variation(cache: SourceCache, examples: Sequence[Example], length: int) -> float:
    """The largest over all positions, of the softmax over the stored logits."""
    worst = 0.0
    for example, made in zip(examples, signals(examples, length, cache.k), strict=True):
        p, q = (np.exp(x.astype(np.float64) - 30) for x in (made.values, cache.read([example])[0].values))
        worst = max(worst, float(np.abs(p / p.sum(1, keepdims=True) - q / q.sum(1, keepdims=True)).sum(1).max() / 2))
    return worst


def seconds_of(function: Callable[[], Any], repeats: int) -> float:
    """The median of `repeats` calls after one untimed."""
    function()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return median(taken)


def measure(cache: Path, examples: Sequence[Example], length: int, repeats: int) -> dict[str, float]:
    """Metric -> value: sizes in bytes, rates in tokens per second, exactness."""
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


def run(folder: Path, tokens: int, length: int, k: int, shard: int, repeats: int) -> dict[str, dict[str, float]]:
    """Makes and measures the cache of each kind."""
    examples = texts(tokens, length)
    found = {}
    for kind, columns in KINDS.items():
        cache = folder / kind.replace(" ", "-")
        seconds = make(cache, examples, length, k, columns, shard)
        found[kind] = measure(cache, examples, length, repeats)
        found[kind]["write"] = found[kind]["tokens"] / seconds
    return found


def as_rows(found: dict[str, dict[str, float]], variant: str) -> list[Row]:
    """One row for each number."""
    rows = [
        row("cache", variant, kind, metric, value, UNITS.get(metric, "tokens/s"))
        for kind, values in found.items()
        for metric, value in values.items()
    ]
    return [dataclasses.replace(r, suite="cache") for r in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("tokens", 1_000_000), ("length", 512), ("k", 10), ("shard", 2048), ("repeats", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--folder", type=Path, help="where to leave the caches; else they are dropped")
    parser.add_argument("--output", type=Path, help="folder for rows, such as reports/cache")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    scratch = tempfile.TemporaryDirectory() if given.folder is None else nullcontext(given.folder)
    with scratch as folder, pinned_threads(1):
        found = run(Path(folder), given.tokens, given.length, given.k, given.shard, given.repeats)
    if given.output:
        variant = f"T{given.length} k{given.k}"
        write(as_rows(found, variant), given.output, "bench_cache", threads=1)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for kind, values in found.items():
        print(kind)
        for metric, value in values.items():
            print(f"  {metric:18s} {value:14.4g} {UNITS.get(metric, 'tokens/s')}")


if __name__ == "__main__":
    main()
