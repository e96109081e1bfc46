"""Special tokens that somebody typed inside the data, such as "<|im_end|>" in a question about chat templates.

A tokenizer reads them as the special token, in the middle of a turn. The recipe's `special_tokens_in_text` says what to
do: "parse" leaves it so, "text" reads them letter by letter like any other text, and "refuse" refuses the data.

For "text", a mark is put behind the first character of each of them. So the tokenizer does not find them, and its copy
(`unparsed`) removes the marks before it cuts the text. Special tokens that the chat template writes have no mark.
"""

from __future__ import annotations

import bisect
import copy
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from tokenizers import normalizers

from gldfusion.align import Encoded
from gldfusion.errors import InputError

if TYPE_CHECKING:
    from gldfusion.sources import Example

Special = Literal["text", "parse", "refuse"]
MARK = "\uf8fe"
"""a character for private use, which stands in no ordinary text"""


@lru_cache(maxsize=16)
def pattern(tokenizer: Any) -> re.Pattern[str]:
    """Finds the special tokens of a tokenizer in a text; the longest of several is found."""
    named = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    longest_first = sorted({*named, *tokenizer.all_special_tokens} - {""}, key=lambda word: (-len(word), word))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def special_token(tokenizer: Any, example: Example) -> str | None:
    """The first special token that is typed in the texts of an example; None if there is none."""
    found = pattern(tokenizer).search("\n".join(_texts(example)))
    return found and found[0]


def with_special(tokenizer: Any, examples: Sequence[Example], mode: Special) -> list[tuple[Example, str]]:
    """The examples in which a special token is typed, each with the first such token.

    Raises:
        InputError: there is one, and the mode is "refuse".
    """
    typed = [(e, word) for e in examples if (word := special_token(tokenizer, e)) is not None]
    if typed and mode == "refuse":
        example, word = typed[0]
        raise InputError(
            f"example {example.id}: its text holds {word!r}, a special token of {tokenizer.name_or_path}\n"
            "set special_tokens_in_text to text, to read it like other text, or to parse; or remove it from the data"
        )
    return typed


def marked(tokenizer: Any, example: Example) -> Example:
    """The example with a mark in each special token of the tokenizer that is typed in it."""

    def mark(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(mark, value))
        return pattern(tokenizer).sub(lambda found: found[0][0] + MARK + found[0][1:], value)

    return replace(
        example, **{f.name: mark(getattr(example, f.name)) for f in fields(example) if f.name not in ("id", "group")}
    )


@lru_cache(maxsize=16)
def unparsed(tokenizer: Any) -> Any:
    """A copy of a tokenizer that removes marks from the text after it has looked for special tokens."""
    out = copy.deepcopy(tokenizer)
    own = out.backend_tokenizer.normalizer
    remove = normalizers.Replace(MARK, "")
    out.backend_tokenizer.normalizer = normalizers.Sequence([remove, own] if own is not None else [remove])
    return out


def without_marks(encoded: Encoded, replies: Sequence[str]) -> Encoded:
    """Counts the bytes of an encoded text as if there were no marks.

    Args:
        encoded: the encoding of a marked example.
        replies: its replies, with marks.
    """
    stream, size = b"\0".join(reply.encode() for reply in replies), len(MARK.encode())
    places = [found.start() for found in re.finditer(re.escape(MARK.encode()), stream)]
    starts = [s if s < 0 else s - size * bisect.bisect_left(places, s) for s in encoded.starts]
    return replace(encoded, starts=starts)


def _texts(example: Example) -> list[str]:
    return [example.prompt, example.response, example.chat, *(text for turn in example.history for text in turn)]
