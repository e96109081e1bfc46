"""Reads the examples, encodes them for the pivot, and makes batches in which pivot and source positions are paired."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from gldfusion.align import Encoded, pair_texts
from gldfusion.errors import InputError
from gldfusion.inputs import Inputs, collate, moved, pad
from gldfusion.model import vocabulary_hash
from gldfusion.paths import EXAMPLE_LINE, require_data
from gldfusion.signals import Signal
from gldfusion.sources import Example, SequenceSignal, SourceSignals, encode_example

EXPECTED_TURNS = '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}, ...]}'


def read_examples(path: Path) -> list[Example]:
    """Reads examples from JSON lines. Each line has "prompt" and "response", or "messages"; "id" is optional.

    "messages" is a list of turns, alternately of the user and the assistant. The first is the user's, the last the
    assistant's.

    Raises:
        InputError: the file does not exist, is not UTF-8, has no examples, or has a line of another form. The message
            gives the number of the line.
    """
    require_data(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error})\nexpected JSON lines {EXAMPLE_LINE}") from None
    if not text.strip():
        raise InputError(f"{path} holds no examples\nexpected JSON lines {EXAMPLE_LINE}")
    lines = text.removesuffix("\n").split("\n")  # not splitlines: JSON strings may contain other line ends
    return [_example(path, number, line) for number, line in enumerate(lines, start=1)]


def _example(path: Path, number: int, line: str) -> Example:
    try:
        record = json.loads(line)
        *history, (prompt, response) = _turns(record["messages"]) if "messages" in record else [_turn(record)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        expected = EXPECTED_TURNS if '"messages"' in line else EXAMPLE_LINE
        raise InputError(f"{path}, line {number}: {reason}\nexpected {expected}, got {line[:80]!r}") from None
    return Example(str(record.get("id", number - 1)), prompt, response, tuple(history))


def _turn(record: dict[str, Any]) -> tuple[str, str]:
    prompt, response = record["prompt"], record["response"]
    if not isinstance(prompt, str) or not isinstance(response, str):
        raise TypeError("prompt and response must be strings")
    (prompt + response).encode()  # fails for half a surrogate pair, which JSON can contain
    return prompt, response


def _turns(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The (prompt, reply) of each turn."""
    roles = [message["role"] for message in messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise ValueError(f"turns of user and assistant must alternate and end with the assistant; got {roles}"[:200])
    said = [message["content"] for message in messages]
    return [_turn({"prompt": p, "response": r}) for p, r in zip(said[::2], said[1::2], strict=True)]


def data_hash(examples: Sequence[Example]) -> str:
    """SHA-256 (hex) over the texts, in their order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example.key)
    return digest.hexdigest()


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
    """source name -> (signal [B, T_s, k], pairs [B, P, 2] of (pivot position, source position), padded with -1)"""

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
        return Batch(self.inputs.to(device), sources)


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
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerFast,
        max_length: int,
        sources: Sequence[SourceSignals],
    ) -> None:
        """Encodes the examples.

        Args:
            examples: the texts.
            tokenizer: the pivot's.
            max_length: largest number of tokens of a text, prompt and response together.
            sources: all used sources.

        Raises:
            InputError: an example cannot be encoded, or no example has a labelled position.
        """
        self.examples = examples
        self.sources = sources
        self.vocabulary_hash = vocabulary_hash(tokenizer)
        self.encoded = [encode_example(tokenizer, e, max_length) for e in examples]
        self.usable = np.array([i for i, e in enumerate(self.encoded) if e.starts])
        if not len(self.usable):
            raise InputError(
                f"no example has a labelled position within max_length = {max_length}\n"
                "raise max_length, or shorten the prompts"
            )

    @property
    def truncated(self) -> int:
        """The number of examples that max_length cut off."""
        return sum(e.truncated for e in self.encoded)

    def coverage(self, source: SourceSignals, sample: int = 1000) -> float:
        """The share of the pivot's labelled positions that are paired with a source.

        Args:
            source: the source.
            sample: the share is measured on at most this many examples, spread evenly over the data.
        """
        chosen = self.usable[:: -(-len(self.usable) // sample)].tolist()
        starts = source.starts([self.examples[i] for i in chosen])
        paired = sum(len(self._pairs(self.encoded[i], s, source)) for i, s in zip(chosen, starts, strict=True))
        return paired / sum(len(self.encoded[i].starts) for i in chosen)

    def step(self, step: int, batch_size: int, seed: int) -> list[int]:
        """The indices of the examples of a step. Arguments as for `batch_indices`.

        The longest come first, so the examples of a micro-batch have similar lengths and need little padding.
        """
        chosen = self.usable[batch_indices(len(self.usable), batch_size, seed, step)]
        return sorted(chosen.tolist(), key=lambda i: (-len(self.encoded[i].ids), i))

    def batch(self, indices: Sequence[int]) -> Batch:
        """Makes one padded batch of the examples with these indices."""
        encoded = [self.encoded[i] for i in indices]
        examples = [self.examples[i] for i in indices]
        sources = {}
        for source in self.sources:
            signals = source.read(examples)
            pairs = [self._pairs(e, s.starts.tolist(), source) for e, s in zip(encoded, signals, strict=True)]
            sources[source.name] = stack_signals(signals), pad(pairs, -1)
        return Batch(collate(encoded), sources)

    def _pairs(self, encoded: Encoded, starts: list[int], source: SourceSignals) -> np.ndarray:
        """The pairs [P, 2] of (pivot position, source position) of one text."""
        pairs = pair_texts(encoded, starts, source.vocabulary_hash == self.vocabulary_hash)
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)
