"""The projection W from the pivot's vocabulary to a source's: which source tokens a pivot token begins with.

W [V_pivot, V_source] is sparse, and each row is 0 or sums to 1. A token of the pivot that the source has too, with the
same bytes (special tokens: with the same role or name), is given to that token. Any other token is cut into source
tokens, at most 4, and given to them with weights in the ratio 1 : 0.1 : 0.01 : 0.001, because the first piece is what
the source would predict at this position. It is cut as the source's tokenizer cuts its text alone. If the pieces spell
other bytes (some tokenizers put a space before every text), or if the bytes are no text, it is cut into the longest
source tokens that fit, from the beginning.

Source: X-Token (arXiv 2605.21699), after the tools in NeMo-RL, which also cut the source's tokens into pivot tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gldfusion.tokens import untrimmed
from gldfusion.vocab import Vocabulary, exact_map, saved_arrays, vocabulary

FORMAT = 1
PIECES = 4
"""at most so many source tokens stand for a token of the pivot"""
COLUMN = 4
"""at most so many pivot tokens are kept for a source token, those with the largest weights"""
CONFIDENT = 0.6
"""smallest weight of a pair of tokens that are compared by name"""


@dataclass(frozen=True, eq=False)
class Projection:
    """The columns of W, one for each id of the source."""

    ids: NDArray[np.int64]
    """[V_s, COLUMN] pivot tokens that give a part of their probability to this source token; -1 if there are fewer"""
    shares: NDArray[np.float32]
    """[V_s, COLUMN] the part that each of them gives; 0 where `ids` is -1"""
    pairs: NDArray[np.int64]
    """[V_s] the pivot token that gives most to this source token, if that is most of its probability; else -1"""

    def tables(self, rows: int) -> tuple[Tensor, Tensor]:
        """`ids` and `shares` for the `rows` rows of the source's output layer. Rows without a token are -1 and 0."""
        return _resized(self.ids, rows, -1), _resized(self.shares, rows, 0)

    def table(self, rows: int) -> Tensor:
        """`pairs` for the `rows` rows of the source's output layer. Rows without a token are -1."""
        return _resized(self.pairs, rows, -1)


def projection(pivot: Any, source: Any, folder: Path | None = None) -> Projection:
    """The projection from the pivot's vocabulary to the source's. It is saved, as vocabulary maps are.

    Args:
        pivot: the pivot's tokenizer.
        source: the source's tokenizer.
        folder: where it is saved. None: `vocab.map_folder()`.

    Raises:
        InputError: a tokenizer is not a fast one, or a saved projection cannot be read.
    """
    ours, theirs = vocabulary(pivot), vocabulary(source)

    def make() -> dict[str, NDArray[Any]]:
        columns = _columns(_rows(ours, theirs, source))
        found = {
            "ids": np.full((theirs.size, COLUMN), -1, dtype=np.int64),
            "shares": np.zeros((theirs.size, COLUMN), dtype=np.float32),
            "pairs": np.full(theirs.size, -1, dtype=np.int64),
        }
        for v, entries in columns.items():
            for place, (share, u) in enumerate(entries[:COLUMN]):
                found["ids"][v, place], found["shares"][v, place] = u, share
            if entries[0][0] >= CONFIDENT:
                found["pairs"][v] = entries[0][1]
        return found

    return Projection(**saved_arrays("projection", FORMAT, ours, theirs, folder, ("ids", "shares", "pairs"), make))


def _rows(ours: Vocabulary, theirs: Vocabulary, source: Any) -> dict[int, Sequence[int]]:
    """The source tokens into which each token of the pivot is cut."""
    equal = exact_map(theirs, ours)
    rows: dict[int, Sequence[int]] = {u: (int(v),) for u, v in enumerate(equal) if v >= 0}
    left = {u: text for u, text in ours.bytes.items() if text and u not in rows}
    by_bytes: dict[bytes, int] = {}
    for v, text in theirs.bytes.items():
        by_bytes.setdefault(text, v)
    words = {u: text.decode() for u, text in left.items() if _is_text(text)}
    cut = untrimmed(source).encode_batch(list(words.values()), add_special_tokens=False)
    encoded = {u: encoding.ids for u, encoding in zip(words, cut, strict=True)}
    for u, text in left.items():
        pieces = encoded.get(u, [])
        if b"".join(theirs.bytes.get(v, b"") for v in pieces) != text:
            pieces = _longest_first(text, by_bytes)
        if pieces:
            rows[u] = pieces[:PIECES]
    return rows


def _columns(rows: Mapping[int, Sequence[int]]) -> dict[int, list[tuple[float, int]]]:
    """For each source token the pivot tokens (share, id) that give it a part: largest share first, then lowest id."""
    columns = defaultdict[int, dict[int, float]](lambda: defaultdict(float))
    for u, pieces in rows.items():
        weights = [0.1**place for place in range(len(pieces))]
        for v, weight in zip(pieces, weights, strict=True):
            columns[v][u] += weight / sum(weights)
    return {
        v: [(share, u) for u, share in sorted(given.items(), key=lambda entry: (-entry[1], entry[0]))]
        for v, given in columns.items()
    }


def _longest_first(text: bytes, by_bytes: Mapping[bytes, int]) -> list[int]:
    """Cuts bytes into tokens, each the longest that fits; none if nothing fits somewhere."""
    longest, pieces, at = max(map(len, by_bytes), default=0), [], 0
    while at < len(text):
        ends = range(min(len(text), at + longest), at, -1)
        end = next((end for end in ends if text[at:end] in by_bytes), None)
        if end is None:
            return []
        pieces.append(by_bytes[text[at:end]])
        at = end
    return pieces


def _is_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _resized(array: NDArray[Any], rows: int, fill: float) -> Tensor:
    out = np.full((max(rows, len(array)), *array.shape[1:]), fill, dtype=array.dtype)
    out[: len(array)] = array
    return torch.from_numpy(out[:rows].copy())
