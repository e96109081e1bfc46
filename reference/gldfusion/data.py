"""Encodes the examples for the pivot, and makes batches in which pivot and source positions are paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from gldfusion.align import Encoded, pair_texts, with_end
from gldfusion.errors import InputError
from gldfusion.examples import read_examples as read_examples
from gldfusion.inputs import Inputs, collate, moved, pad
from gldfusion.model import vocabulary_hash
from gldfusion.packing import Packer
from gldfusion.signals import Signal
from gldfusion.sources import Example, SequenceSignal, SourceSignals
from gldfusion.specials import Special
from gldfusion.texts import Texts, encode_texts

Role = Literal["all", "labels", "sources"]


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order of n examples in an epoch. It depends on the arguments alone, so a resumed run has the same order."""
    return np.random.default_rng([seed, epoch]).permutation(n)


def batch_indices(n: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """The indices of the examples of one optimizer step: [batch_size].

    The epochs form one endless sequence of examples, and each step takes the next `batch_size` of them.

    Args:
        n: number of examples.
        batch_size: examples per step.
        seed: seed of the order.
        step: number of the step, from 0.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    orders = {epoch: epoch_order(n, seed, epoch) for epoch in np.unique(places // n).tolist()}
    return np.array([orders[p // n][p % n] for p in places.tolist()])


@dataclass(frozen=True, eq=False)
class Batch:
    """The input of one forward pass of the pivot and of its losses."""

    inputs: Inputs
    sources: dict[str, tuple[Signal, Tensor]]
    """source name -> (signal [B, T_s, k], pairs [B, P, 2] of (pivot position, source position), padded with -1; a row
    of `signals.END` follows the last pair of a text that both models read to its end)"""
    role: Role = "all"
    """which terms read the batch: "all"; "labels": only SFT; "sources": only the distillation terms"""

    @property
    def tokens(self) -> int:
        """The number of tokens that the pivot reads, without padding."""
        return int(self.inputs.attention_mask.sum())

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on another device."""
        sources = {
            name: (signal.map(lambda x: moved(x, device)), moved(pairs, device))
            for name, (signal, pairs) in self.sources.items()
        }
        return Batch(self.inputs.to(device), sources, self.role)


def stack_signals(signals: Sequence[SequenceSignal]) -> Signal:
    """Pads the signals of B sequences and joins them into one signal [B, T, k] with a mask.

    Tensors stay on their device; the mask is on the CPU, where the units are counted.
    """
    fields = {name: _stack([getattr(s, name) for s in signals]) for name in signals[0].held}
    return Signal(**fields, mask=pad([np.ones(len(s.values), dtype=bool) for s in signals], False))


def _stack(rows: Sequence[Any]) -> Tensor:
    """`inputs.pad` with 0, for arrays or for tensors."""
    if not isinstance(rows[0], Tensor):
        return pad(rows, 0)
    out = rows[0].new_zeros(len(rows), max(1, *(len(row) for row in rows)), *rows[0].shape[1:])
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return out


class FusionData:
    """The examples, encoded for the pivot, and their sources. The batch of a step depends on the step alone."""

    def __init__(
        self,
        texts: Texts,
        tokenizer: PreTrainedTokenizerFast,
        sources: Sequence[SourceSignals],
        packer: Packer | None = None,
    ) -> None:
        """Finds the examples that have labels.

        Args:
            texts: the encoded examples.
            tokenizer: the pivot's.
            sources: all used sources.
            packer: lays out the texts of a batch in rows. None: every text has a row of its own.

        Raises:
            InputError: no example has a labelled position.
        """
        self.texts = texts
        self.examples = texts.examples
        self.encoded = texts.encoded
        self.sources = sources
        self.packer = packer
        self.vocabulary_hash = vocabulary_hash(tokenizer)
        self.usable = np.flatnonzero(texts.labels)
        if not len(self.usable):
            raise InputError(
                f"no example has a labelled position within max_length = {max(texts.lengths, default=0)}\n"
                "raise max_length, or shorten the prompts"
            )

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerFast,
        max_length: int,
        sources: Sequence[SourceSignals],
        special: Special = "parse",
        packer: Packer | None = None,
    ) -> FusionData:
        """Encodes examples in this process.

        Args:
            examples: the texts.
            tokenizer: the pivot's.
            max_length: largest number of tokens of a text, prompt and response together.
            sources: all used sources.
            special: how special tokens that are typed in the texts are read; see `specials`.
            packer: see `FusionData`.

        Raises:
            InputError: an example cannot be encoded, or holds a special token and `special` is "refuse", or no example
                has a labelled position.
        """
        return cls(Texts([encode_texts(tokenizer, examples, max_length, special)]), tokenizer, sources, packer)

    @property
    def truncated(self) -> int:
        """The number of examples that max_length cut off."""
        return int(self.texts.truncated.sum())

    def coverage(self, source: SourceSignals, sample: int = 1000) -> float:
        """The share of the pivot's labelled positions that are paired with a source.

        Args:
            source: the source.
            sample: the share is measured on at most this many examples, spread evenly over the data.
        """
        chosen = self.usable[:: -(-len(self.usable) // sample)].tolist()
        starts = source.starts([self.examples[i] for i in chosen])
        paired = sum(len(self._pairs(self.encoded[i], s, source)) for i, s in zip(chosen, starts, strict=True))
        return paired / int(self.texts.labels[chosen].sum())

    def step(self, step: int, batch_size: int, seed: int) -> list[int]:
        """The indices of the examples of a step. Arguments as for `batch_indices`.

        The longest come first.
        """
        chosen = self.usable[batch_indices(len(self.usable), batch_size, seed, step)]
        return sorted(chosen.tolist(), key=lambda i: (-self.texts.lengths[i], i))

    def batch(self, indices: Sequence[int], role: Role = "all") -> Batch:
        """Makes one batch of the examples with these indices. The sources are not read if only SFT reads the batch."""
        encoded = [self.encoded[i] for i in indices]
        examples = [self.examples[i] for i in indices]
        sources = {}
        for source in self.sources if role != "labels" else ():
            signals = source.read(examples)
            starts = [s.starts.tolist() for s in signals]
            pairs = [as_array(with_end(self._pairs(e, s, source), e, s)) for e, s in zip(encoded, starts, strict=True)]
            sources[source.name] = stack_signals(signals), pad(pairs, -1)
        rows = None if self.packer is None else self.packer.rows([len(e.ids) for e in encoded])
        return Batch(collate(encoded, rows), sources, role)

    def _pairs(self, encoded: Encoded, starts: list[int], source: SourceSignals) -> list[tuple[int, int]]:
        """The pairs of (pivot position, source position) of one text."""
        return pair_texts(encoded, starts, source.vocabulary_hash == self.vocabulary_hash)


def as_array(pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """The pairs of one text as an array [P, 2]."""
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
