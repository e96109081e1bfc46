"""Encodes texts in several processes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gldfusion.model import load_tokenizer
from gldfusion.pool import worker_context, worker_pool
from gldfusion.recipe import Recipe
from gldfusion.sources import Example
from gldfusion.specials import Special
from gldfusion.texts.columns import encode_texts

CHUNK = 1024
"""texts that a worker encodes at once. They become one batch of the file"""
MOST = 32
"""most workers: they would wait for the process that writes"""
MEND = "free memory, then run the same command again"

_encoding: tuple[Encoding, Any] | None = None


@dataclass(frozen=True)
class Encoding:
    """How texts are encoded."""

    checkpoint: Path
    """folder of the pivot, which holds the tokenizer"""
    trust_remote_code: bool
    max_length: int
    special: Special


def encoding_of(recipe: Recipe) -> Encoding:
    """How the texts of a recipe are encoded."""
    return Encoding(recipe.pivot, recipe.trust_remote_code, recipe.train.max_length, recipe.special_tokens_in_text)


def encode_in_parallel(examples: Sequence[Example], encoding: Encoding) -> Iterator[pa.RecordBatch]:
    """Encodes texts with a worker process for each core. Yields the batches in the order of the texts.

    Args:
        examples: the texts.
        encoding: how they are encoded.

    Raises:
        InputError: see `encode_texts`; or a worker was killed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, MOST, -(-len(examples) // CHUNK))
    with worker_pool(workers, worker_context(__name__), _start, [encoding], MEND) as pool:
        waiting = deque[Future[pa.RecordBatch]]()
        for first in range(0, len(examples), CHUNK):
            waiting.append(pool.submit(_work, examples[first : first + CHUNK]))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _start(encoding: Encoding) -> None:
    """Loads the tokenizer in a worker."""
    global _encoding
    _encoding = encoding, load_tokenizer(encoding.checkpoint, encoding.trust_remote_code)


def _work(examples: Sequence[Example]) -> pa.RecordBatch:
    assert _encoding is not None, "started by encode_in_parallel"
    encoding, tokenizer = _encoding
    return encode_texts(tokenizer, examples, encoding.max_length, encoding.special)
