"""Finds the nearest of many words by edit distance. It compares a word with all words of one length at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Word = Sequence[int]
"""bytes or code points"""


def nearest(words: Sequence[Word], known: Sequence[Word]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Finds for each word the nearest known word by Levenshtein distance.

    Args:
        words: the words.
        known: the candidates; at least one.

    Returns:
        [words] index in `known` of the nearest candidate, the lowest index among several; and [words] its distance.
    """
    by_length = defaultdict[int, list[int]](list)
    for i, word in enumerate(known):
        by_length[len(word)].append(i)
    groups = {
        length: (np.array(rows), np.ascontiguousarray(_matrix([known[i] for i in rows], length)))
        for length, rows in by_length.items()
    }
    found: dict[tuple[int, ...], tuple[int, int]] = {}
    for word in words:
        key = tuple(word)
        if key not in found:
            found[key] = _nearest(key, groups)
    index, distance = zip(*(found[tuple(word)] for word in words), strict=True) if words else ((), ())
    return np.array(index, dtype=np.int64), np.array(distance, dtype=np.int64)


def distances(word: Word, others: NDArray[np.int32]) -> NDArray[np.int16]:
    """The Levenshtein distances [n] between a word and n words of one length, the columns of `others` [length, n]."""
    length, n = others.shape
    row = np.repeat(np.arange(length + 1, dtype=np.int16)[:, None], n, axis=1)  # row j: to the first j letters
    for i, letter in enumerate(word, start=1):
        before = row
        row = np.empty_like(before)
        row[0] = i
        np.add(before[:-1], others != letter, out=row[1:], casting="unsafe")  # letter replaced, or equal
        np.minimum(row[1:], before[1:] + 1, out=row[1:])  # letter deleted
        for j in range(1, length + 1):
            np.minimum(row[j], row[j - 1] + 1, out=row[j])  # letter added
    return row[length]


def _nearest(word: Word, groups: dict[int, tuple[NDArray[np.int64], NDArray[np.int32]]]) -> tuple[int, int]:
    """(index, distance) of the nearest word. The groups with the smallest difference in length are searched first."""
    best = (np.iinfo(np.int64).max, -1)
    for length in sorted(groups, key=lambda length: (abs(length - len(word)), length)):
        if abs(length - len(word)) > best[0]:
            break
        rows, others = groups[length]
        found = distances(word, others)
        at = int(found.argmin())  # among equal distances the first, which has the lowest index
        best = min(best, (int(found[at]), int(rows[at])))
    return best[1], best[0]


def _matrix(words: Sequence[Word], length: int) -> NDArray[np.int32]:
    """Words of one length as the columns of a matrix [length, words]."""
    return np.array([list(word) for word in words], dtype=np.int32).reshape(len(words), length).T
