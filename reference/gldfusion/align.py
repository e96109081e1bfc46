"""Pairs the positions of two models on one text: two positions are paired if their labels start at the same byte.

Pairing reads the replies only, so a BOS token or a chat template on one side shifts nothing. Bytes are counted from the
start of the first reply. The replies of a conversation are counted one after the other; between two of them is one
byte, at which the end of the first one starts. The end of a reply can have several tokens (`turns.turn_end`); only the
first of them starts at a byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from gldfusion.chat import parts
from gldfusion.errors import InputError
from gldfusion.signals import END
from gldfusion.templates import Message
from gldfusion.tokens import tokens


@dataclass(frozen=True)
class Encoded:
    """A prompt and its response, or a conversation, in one tokenisation."""

    ids: list[int]
    """the prompt, the response and the tokens that end it"""
    n_prompt: int
    """number of `ids` before the first reply"""
    starts: list[int]
    """the byte of the response text at which each labelled id starts; -1 if it starts inside a character. The first
    token of the end starts at the length of the text, its other tokens have -1. The values other than -1 are strictly
    increasing"""
    truncated: bool
    """whether the end was cut off because of max_length"""
    replies: tuple[tuple[int, int], ...] | None = None
    """the range [first, last) in `ids` of each reply and its end. None: everything after the prompt"""

    @property
    def labelled(self) -> list[int]:
        """The indices in `ids` of the labels: those of the replies, and no others."""
        spans = ((self.n_prompt, len(self.ids)),) if self.replies is None else self.replies
        return [place for first, last in spans for place in range(first, last)]

    @property
    def predicting(self) -> list[int]:
        """The index in `ids` of the position that predicts each label. Only this function makes the causal shift."""
        return [place - 1 for place in self.labelled]


def encode(
    tokenizer: Any, prompt: str, response: str, max_length: int, history: Sequence[tuple[str, str]] = ()
) -> Encoded:
    """Tokenises a prompt and its response.

    The prompt has the same ids here and in generation (`chat.prompt_ids`).

    Args:
        tokenizer: a fast transformers tokenizer. It must not be changed after its first use here.
        prompt: the last user turn.
        response: the reply to it.
        max_length: largest number of ids. The rest is cut off at the end.
        history: the earlier turns (prompt, reply). Every reply is labelled. The ids before a reply are those that
            generation of this reply would see.

    Raises:
        InputError: the tokenizer is not a fast one, has no end-of-sequence token, or makes no token of the prompt; or
            its chat template rewrites earlier turns.
    """
    said = [message for turn in (*history, (prompt, response)) for message in _messages(*turn)]
    return encode_messages(tokenizer, said, max_length)


def encode_messages(tokenizer: Any, messages: Sequence[Message], max_length: int, tools: Sequence[Any] = ()) -> Encoded:
    """As `encode`, for a conversation with turns of every role.

    Args:
        tokenizer: as for `encode`.
        messages: the turns. The replies of the assistant are labelled, each with the tokens that end its turn
            (`turns.turn_end`). A turn that calls tools is no reply.
        max_length: largest number of ids. The rest is cut off at the end.
        tools: descriptions of tools for the chat template.

    Raises:
        InputError: see `encode`.
    """
    if tokenizer.eos_token_id is None:
        raise InputError(f"{tokenizer.name_or_path} has no eos_token\nset one: replies end with it")
    ids, starts, replies, byte = list[int](), list[int](), list[tuple[int, int]](), 0
    for part in parts(tokenizer, messages, tools):
        ids += part.before
        said, spans = tokens(tokenizer, part.reply, part.continues)
        if spans is None:
            raise InputError(
                f"expected a fast tokenizer: {tokenizer.name_or_path} reports no character spans\n"
                "convert it to a fast one"
            )
        replies.append((len(ids), len(ids) + len(said) + len(part.end)))
        starts += [start if start < 0 else start + byte for start in _starts(part.reply, spans)]
        byte += len(part.reply.encode()) + 1
        starts += [byte - 1, *[-1] * len(part.end)][: len(part.end)]
        ids += [*said, *part.end]
    return _cut(
        Encoded(ids=ids, n_prompt=replies[0][0], starts=starts, truncated=False, replies=tuple(replies)), max_length
    )


def _messages(prompt: str, reply: str) -> list[Message]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]


def pair(starts_a: Sequence[int], starts_b: Sequence[int]) -> list[tuple[int, int]]:
    """The positions (i, j) whose labels start at the same byte.

    They are in ascending order, and each position occurs at most once.

    Args:
        starts_a: `Encoded.starts` of one model.
        starts_b: `Encoded.starts` of the other.
    """
    position = {start: j for j, start in enumerate(starts_b) if start >= 0}
    return [(i, position[start]) for i, start in enumerate(starts_a) if start in position]


def pair_texts(ours: Encoded, theirs: Sequence[int], same_vocabulary: bool) -> list[tuple[int, int]]:
    """The pairs of positions (pivot, source) on one text.

    Two models with the same vocabulary are paired position by position, inside characters too, if they cut the text at
    the same bytes. All others are paired by `pair`.

    Args:
        ours: the pivot's tokenisation.
        theirs: `Encoded.starts` of the source.
        same_vocabulary: whether pivot and source have the same vocabulary.
    """
    shared = min(len(ours.starts), len(theirs))  # the two may be cut off at different places
    if same_vocabulary and ours.starts[:shared] == list(theirs[:shared]):
        return [(i, i) for i in range(shared)]
    return pair(ours.starts, theirs)


def with_end(pairs: Sequence[tuple[int, int]], ours: Encoded, theirs: Sequence[int]) -> list[tuple[int, int]]:
    """The pairs of one text, followed by (`END`, `END`) if both models read the text up to the token that ends it.

    The pivot read it if nothing was cut off. The largest start is then that of the end, and a source that read it too
    has the same largest start. Losses on chunks need to know this (`losses.chunks`).

    Args:
        pairs: the pairs.
        ours: the pivot's tokenisation.
        theirs: `Encoded.starts` of the source.
    """
    ended = bool(pairs) and not ours.truncated and max(theirs) == max(ours.starts)
    return [*pairs, (END, END)] if ended else list(pairs)


def _cut(whole: Encoded, max_length: int) -> Encoded:
    """Keeps the first `max_length` ids, and removes the labels that are cut off."""
    if len(whole.ids) <= max_length:
        return whole
    kept = sum(place < max_length for place in whole.labelled)
    replies = tuple((min(first, max_length), min(last, max_length)) for first, last in whole.replies or ())
    return Encoded(
        ids=whole.ids[:max_length],
        n_prompt=min(whole.n_prompt, max_length),
        starts=whole.starts[:kept],
        truncated=True,
        replies=replies,
    )


def _starts(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """The byte at which each token starts; -1 inside a character.

    White space that no span covers belongs to the token after it (some pre-tokenizers drop spaces). Other uncovered
    text belongs to the token before it (normalisation may join a mark with its letter). All pieces of one character
    have the whole character as their span: the first piece starts it, and the others, whose spans begin in covered
    text, get -1. The span of a prefix "▁" is the first character too: the prefix starts the text, and a separate token
    after it gets -1.

    Args:
        text: the text.
        spans: the span of each token, in characters.
    """
    byte_of = range(len(text) + 1) if text.isascii() else [0, *accumulate(len(c.encode()) for c in text)]
    starts, covered = [], 0
    for first, last in spans:
        if first < covered:
            starts.append(-1)
        else:
            dropped = first > covered and text[covered:first].isspace()
            starts.append(byte_of[covered if dropped else first])
        covered = max(covered, last)
    return starts
