"""Negative controls: sources whose outputs lost their knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gldfusion.errors import InputError
from gldfusion.files import hash_json
from gldfusion.reading import shown
from gldfusion.sources import Example, SequenceSignal, SourceSignals


class Control:
    """A negative control around a source. What a method gains from it cannot come from the source's knowledge.

    The control "shuffled" gives each text the outputs of another text of its group, at the same relative position. So
    the outputs keep the form of the group's texts and lose their content. The starts are unchanged. The control
    "permuted_ids" renames the vocabulary ids by a fixed permutation; the values are unchanged. Both depend on the seed,
    the text and the pool, not on the batch or the process.
    """

    def __init__(self, source: SourceSignals, kind: str, pool: Sequence[Example], seed: int) -> None:
        """Puts the control around a source.

        Args:
            source: the source.
            kind: "shuffled" or "permuted_ids".
            pool: all texts that will be read. "shuffled" draws from them.
            seed: seed of the random draws.

        Raises:
            InputError: "shuffled" finds a group with only one text.
        """
        self.name = source.name
        self.vocabulary = source.vocabulary
        self.vocabulary_hash = source.vocabulary_hash
        self.checkpoint_hash = source.checkpoint_hash
        self.source = source
        self.seed = seed
        self.kind = kind
        self.names = np.random.default_rng(seed).permutation(source.vocabulary)
        self.groups: dict[str, list[Example]] = {}
        if kind == "shuffled":
            usable = [e for e, starts in zip(pool, source.starts(pool), strict=True) if starts]
            for example in {(e.group, e.key): e for e in usable}.values():
                self.groups.setdefault(example.group, []).append(example)
            _require_others(self.groups, self.name)
        self.places = {(e.group, e.key): i for texts in self.groups.values() for i, e in enumerate(texts)}
        """(group, key) -> the place of a text in its group"""

    @property
    def content(self) -> str:
        """A hash of what the control draws from: the texts and their groups."""
        return hash_json([[group, [e.key.hex() for e in texts]] for group, texts in sorted(self.groups.items())])

    def starts(self, examples: Sequence[Example]) -> list[list[int]]:
        """See `SourceSignals.starts`."""
        return self.source.starts(examples)

    def read(self, examples: Sequence[Example]) -> list[SequenceSignal]:
        """See `SourceSignals.read`."""
        return self._permuted(examples) if self.kind == "permuted_ids" else self._shuffled(examples)

    def _permuted(self, examples: Sequence[Example]) -> list[SequenceSignal]:
        said = self.source.read(examples)
        return [s if s.ids is None else replace(s, ids=self.names[s.ids]) for s in said]

    def _shuffled(self, examples: Sequence[Example]) -> list[SequenceSignal]:
        said = self.source.read([self._donor(example) for example in examples])
        out = []
        for starts, donor in zip(self.starts(examples), said, strict=True):
            at = relative_positions(len(starts), len(donor.values))
            picked = {name: getattr(donor, name)[at] for name in donor.held}
            out.append(replace(donor, **picked, starts=np.asarray(starts, dtype=np.int64)))
        return out

    def _donor(self, example: Example) -> Example:
        """The text whose outputs `example` gets: any other text of its group, all with the same probability."""
        texts, own = self.groups.get(example.group, []), self.places.get((example.group, example.key))
        if not texts:
            return (
                example  # max_length cut off all positions of this text and of its group: there is nothing to shuffle
            )
        random = np.random.default_rng([self.seed, int.from_bytes(example.key, "little")])
        number = int(random.integers(len(texts) - (own is not None)))
        return texts[number + (own is not None and number >= own)]


def relative_positions(length: int, other: int) -> NDArray[np.int64]:
    """For each position of a text, the position of another text at the same relative place.

    Args:
        length: number of positions T of the text.
        other: number of positions S of the other text.

    Returns:
        [T] floor((t + 1/2) S / T) for t = 0..T-1. For S = T this is t.
    """
    return (2 * np.arange(length) + 1) * other // (2 * max(length, 1))


def _require_others(groups: dict[str, list[Example]], source: str) -> None:
    for group, texts in groups.items():
        if len(texts) < 2:
            where = f"the group {shown(group)} has" if group else "the data have"
            raise InputError(
                f"source {source}: control: shuffled exchanges the outputs of different texts of one group, but "
                f"{where} only one text with labels\nadd texts, or give this one the `group` of others"
            )
