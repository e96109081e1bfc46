"""Runs of words that two collections of texts share.

Words are compared as in Brown et al., Language Models are Few-Shot Learners (2020), arXiv:2005.14165, appendix C: in
lower case, without punctuation, separated by white space. Runs of 13 words are compared; a text with fewer words counts
as one run if it has at least 8. Unlike there, no run is excused because it is frequent, and the whole example goes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_PUNCTUATION = re.compile(r"[^\w\s]|_")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
Hashes = NDArray[np.uint64]


def words_of(text: str) -> list[str]:
    """The words of a text: in lower case, without punctuation."""
    return _PUNCTUATION.sub("", text.lower()).split()


@lru_cache(maxsize=1 << 20)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def run_hashes(words: Sequence[str], n: int) -> Hashes:
    """The hash of every run of n words, in order."""
    own = np.array([_hash(word) for word in words], dtype=np.uint64)
    count = max(0, len(own) - n + 1)
    out = np.zeros(count, dtype=np.uint64)
    for place in range(n):
        out = out * _FACTOR + own[place : place + count]  # wraps around on purpose
    return out


@dataclass(frozen=True)
class Shared:
    """A run of words that a text shares with an item."""

    item: str
    """id of the item"""
    run: str
    """the words"""


class Runs:
    """The runs of words of the items of one benchmark."""

    def __init__(self, items: Iterable[tuple[str, Sequence[str]]], n: int, shortest: int) -> None:
        """Collects the runs.

        Args:
            items: (id of an item, its texts).
            n: words in a run.
            shortest: a text with fewer than n words counts as one run if it has at least so many.
        """
        self.texts: list[tuple[str, list[str]]] = []
        self.items = self.unchecked = 0
        found: dict[int, list[tuple[Hashes, int]]] = {}
        for item, texts in items:
            long = [words for words in map(words_of, texts) if len(words) >= min(n, shortest)]
            self.items += 1
            self.unchecked += not long
            for words in long:
                length = min(n, len(words))
                found.setdefault(length, []).append((run_hashes(words, length), len(self.texts)))
                self.texts.append((item, words))
        self._tables = {length: _table(parts) for length, parts in found.items()}

    def shared(self, words: Sequence[str]) -> Iterator[Shared]:
        """The runs that a text shares with items, each item once."""
        seen: set[str] = set()
        for length, (hashes, owners, places) in self._tables.items():
            own = run_hashes(words, length)
            first, last = np.searchsorted(hashes, own, "left"), np.searchsorted(hashes, own, "right")
            for start in np.flatnonzero(first < last).tolist():
                run = list(words[start : start + length])
                for row in range(int(first[start]), int(last[start])):
                    item, theirs = self.texts[owners[row]]
                    if item not in seen and theirs[places[row] : places[row] + length] == run:  # not only equal hashes
                        seen.add(item)
                        yield Shared(item, " ".join(run))


def _table(parts: Sequence[tuple[Hashes, int]]) -> tuple[Hashes, NDArray[np.int64], NDArray[np.int64]]:
    """All hashes in ascending order, and for each the number of its text and its place in it."""
    hashes = np.concatenate([own for own, _ in parts])
    owners = np.concatenate([np.full(len(own), number) for own, number in parts])
    places = np.concatenate([np.arange(len(own)) for own, _ in parts])
    order = np.argsort(hashes, kind="stable")
    return hashes[order], owners[order], places[order]
