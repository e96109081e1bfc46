"""One text in two tokenisations: which positions of two models predict a label that starts at the same byte.

Pairing looks at the response text alone, so neither a BOS token nor a chat template on one side shifts anything.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

from tokenizers import Tokenizer

from gldfusion.errors import InputError


@dataclass(frozen=True)
class Encoded:
    """A prompt and its response in one tokenisation."""

    ids: list[int]
    """prompt, response, end-of-sequence"""
    n_prompt: int
    """how many of `ids` are the prompt"""
    starts: list[int]
    """for each id after the prompt, the byte of the response text at which it starts; -1 where it starts inside a
    character. The end-of-sequence token starts at the text's length. What is not -1 is
    strictly increasing."""
    truncated: bool
    """the end was cut off to fit the maximal length"""

    @property
    def predicting(self) -> range:
        """Positions in `ids` whose output predicts each id after the prompt: the causal shift, in its one place."""
        return range(self.n_prompt - 1, len(self.ids) - 1)


def encode(tokenizer: Any, prompt: str, response: str, max_length: int) -> Encoded:
    """Tokenises a prompt and its response separately, so that generation from the prompt sees the same prompt tokens.

    Args:
        tokenizer: a fast transformers tokenizer; it must not change after its first use here.
        max_length: ids to keep; the end of the response is cut off first.

    Raises:
        InputError: the tokenizer is not a fast one, has no end-of-sequence token, or makes no token of the prompt.
    """
    if tokenizer.eos_token_id is None:
        raise InputError(f"{tokenizer.name_or_path} has no eos_token: nothing would end a response\nset one")
    before = prompt_ids(tokenizer, prompt)
    encoding = _untrimmed(tokenizer).encode(response, add_special_tokens=False)
    ids = [*before, *encoding.ids, tokenizer.eos_token_id]
    starts = [*_starts(response, encoding.offsets), len(response.encode())]
    n_prompt = min(len(before), max_length)
    return Encoded(ids[:max_length], n_prompt, starts[: max_length - n_prompt], truncated=len(ids) > max_length)


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """The prompt as the model sees it, in training and in generation.

    A user turn and the opening of the answer in the tokenizer's own chat template where it has one; else the text as it
    is, after the BOS token if the tokenizer puts one before a text.

    Raises:
        InputError: no token comes out, so nothing could predict the first token of a response.
    """
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": prompt}]
        ids = list(tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=True, return_dict=False))
    else:
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        with_special = tokenizer(prompt)["input_ids"]  # may also hold an end token, which a prompt must not
        if tokenizer.bos_token_id is not None and with_special[:1] == [tokenizer.bos_token_id] != ids[:1]:
            ids = [tokenizer.bos_token_id, *ids]
    if not ids:
        raise InputError("the prompt has no tokens and the tokenizer adds no BOS\nwrite a longer prompt")
    return ids


def pair(starts_a: Sequence[int], starts_b: Sequence[int]) -> list[tuple[int, int]]:
    """Positions (i, j) whose labels start at the same byte: monotone, each position at most once.

    Two models of one tokenizer need no bytes: there position i goes with position i, inside characters too.
    """
    position = {start: j for j, start in enumerate(starts_b) if start >= 0}
    return [(i, position[start]) for i, start in enumerate(starts_a) if start in position]


def coverage(pairs: Sequence[tuple[int, int]], starts_pivot: Sequence[int]) -> float:
    """Paired / labelled pivot positions; 0 where nothing is labelled."""
    return len(pairs) / len(starts_pivot) if starts_pivot else 0.0


def _starts(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Start byte of each token, from its span in characters.

    White space that no span covers belongs to the token after it (pre-tokenizers that drop spaces); other uncovered
    text to the token before it (a mark composed with its letter by normalisation). All pieces of one character span
    that character whole: the first of them starts it, the others reach back over covered text and get -1. A prefix "▁"
    spans the first character too: it starts the text, and an unmerged token after it gets -1.
    """
    byte_of = [0, *accumulate(len(character.encode()) for character in text)]
    starts, covered = [], 0
    for first, last in spans:
        start = covered if text[covered:first].isspace() else first
        starts.append(byte_of[start] if first >= covered else -1)
        covered = max(covered, last)
    return starts


@lru_cache(maxsize=8)
def _untrimmed(tokenizer: Any) -> Tokenizer:
    """The tokenizer's backend without its post-processor.

    ByteLevel post-processors cut spaces off both ends of a token's span (on by default in the GPT-2 and Llama-3
    families), so that the token after "\\n   " would seem to start 3 bytes early. Without special tokens to add, a
    post-processor changes nothing else.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"expected a fast tokenizer: {tokenizer.name_or_path} gives no character spans\nconvert it")
    backend: Tokenizer = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.post_processor = None  # pyright: ignore[reportAttributeAccessIssue]
    backend.no_truncation()
    backend.no_padding()
    return backend
