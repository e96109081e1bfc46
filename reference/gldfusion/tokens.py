"""Turns texts into token ids, without special tokens that the tokenizer would add."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer

Span = tuple[int, int]
"""the characters [first, last) of a text that a token stands for"""


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text. Special tokens in it are found, and none is added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def tokens(tokenizer: Any, text: str, before: str | None = None) -> tuple[list[int], list[Span] | None]:
    """The ids of a text, and the span of each.

    A text that continues another one is cut as the two together are cut, unless a token would hold parts of both: the
    ids of the first text never depend on what follows. Some tokenizers put a space before every text; a text that
    continues another one gets none.

    Args:
        tokenizer: a tokenizer of transformers. It must not be changed after its first use here.
        text: the text.
        before: the text before it; None: it is cut alone.

    Returns:
        The ids and the spans. A slow tokenizer reports no spans.
    """
    if before:
        (first, _), (whole, spans) = _alone(tokenizer, before), _alone(tokenizer, before + text)
        kept, border = len(first), len(before)
        joined = spans is not None and (
            any(last > border for _, last in spans[:kept]) or any(start < border for start, _ in spans[kept:])
        )
        if whole[:kept] == first and not joined:
            return whole[kept:], spans and [(start - border, last - border) for start, last in spans[kept:]]
    return _alone(tokenizer, text)


def _alone(tokenizer: Any, text: str) -> tuple[list[int], list[Span] | None]:
    if not getattr(tokenizer, "is_fast", False):
        return text_ids(tokenizer, text), None
    encoding = untrimmed(tokenizer).encode(text, add_special_tokens=False)
    return encoding.ids, encoding.offsets


@lru_cache(maxsize=8)
def untrimmed(tokenizer: Any) -> Tokenizer:
    """A copy of the tokenizer's backend without its post-processor.

    ByteLevel post-processors remove spaces from both ends of a token's span (in the GPT-2 and Llama-3 families by
    default). Then the token after "\\n   " would seem to start 3 bytes too early. If no special tokens are added, a
    post-processor changes nothing else.
    """
    backend: Tokenizer = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.post_processor = None  # pyright: ignore[reportAttributeAccessIssue]
    backend.no_truncation()
    backend.no_padding()
    return backend
