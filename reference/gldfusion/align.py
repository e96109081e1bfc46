"""Pairs the positions of two models on one text: two positions are paired if their labels start at the same byte.

Pairing reads the replies only, so a BOS token or a chat template on one side shifts nothing. Bytes are counted from the
start of the first reply. The replies of a conversation, and the texts of a packed row, are counted one after the other;
between two of them is one byte, at which the end token of the first one starts.
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
from gldfusion.templates import render


@dataclass(frozen=True)
class Encoded:
    """A prompt and its response, a conversation, or a packed row of several texts (`pack`), in one tokenisation."""

    ids: list[int]
    """the prompt, the response and the end-of-sequence token"""
    n_prompt: int
    """number of `ids` before the first reply"""
    starts: list[int]
    """the byte of the response text at which each labelled id starts; -1 if it starts inside a character. The
    end-of-sequence token starts at the length of the text. The values other than -1 are strictly increasing"""
    truncated: bool
    """whether the end was cut off because of max_length"""
    replies: tuple[tuple[int, int], ...] | None = None
    """the range [first, last) in `ids` of each reply and its end token. None: everything after the prompt"""

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

    They are tokenised separately, so the prompt has the same tokens here and in generation.

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
    if tokenizer.eos_token_id is None:
        raise InputError(f"{tokenizer.name_or_path} has no eos_token\nset one: every response ends with it")
    turns = [*history, (prompt, response)]
    ids, starts, replies, byte = list[int](), list[int](), list[tuple[int, int]](), 0
    for number, (_, reply) in enumerate(turns):
        between = _before_reply(tokenizer, turns, number)
        if number and between[:1] == [tokenizer.eos_token_id]:  # the template ends the previous reply: a label too
            replies[-1] = (replies[-1][0], replies[-1][1] + 1)
            starts.append(byte - 1)
        ids += between
        encoding = _untrimmed(tokenizer).encode(reply, add_special_tokens=False)
        replies.append((len(ids), len(ids) + len(encoding.ids)))
        starts += [start if start < 0 else start + byte for start in _starts(reply, encoding.offsets)]
        ids += encoding.ids
        byte += len(reply.encode()) + 1
    ids.append(tokenizer.eos_token_id)
    starts.append(byte - 1)
    replies[-1] = (replies[-1][0], len(ids))
    return _cut(
        Encoded(ids=ids, n_prompt=replies[0][0], starts=starts, truncated=False, replies=tuple(replies)), max_length
    )


def pack(texts: Sequence[Encoded], sizes: Sequence[int]) -> Encoded:
    """Joins several texts, each with its own prompt, into one row. No position of one text is paired with another text.

    Args:
        texts: the texts in one tokenisation.
        sizes: for each text, the bytes of all its replies and one more for each reply's end:
            `sum(len(reply.encode()) + 1 for reply in replies)`. Two models that cut the same texts at different places
            count the same bytes with it.
    """
    ids, starts, replies, byte = list[int](), list[int](), list[tuple[int, int]](), 0
    for text, size in zip(texts, sizes, strict=True):
        spans = ((text.n_prompt, len(text.ids)),) if text.replies is None else text.replies
        replies += [(first + len(ids), last + len(ids)) for first, last in spans]
        starts += [start if start < 0 else start + byte for start in text.starts]
        ids += text.ids
        byte += size
    return Encoded(
        ids=ids,
        n_prompt=texts[0].n_prompt,
        starts=starts,
        truncated=any(text.truncated for text in texts),
        replies=tuple(replies),
    )


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """The ids of a prompt, as the model sees it in training and in generation.

    If the tokenizer has a chat template, they are a user turn and the opening of the reply in this template. Otherwise
    they are the text as it is, after the BOS token if the tokenizer puts one before a text.

    Raises:
        InputError: there is no id, so no position could predict the first token of a response.
    """
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": prompt}]
        ids = list(render(tokenizer, turn, add_generation_prompt=True, tokenize=True, return_dict=False))
    else:
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        with_special = tokenizer(prompt)["input_ids"]  # may also contain an end token, which a prompt must not
        if tokenizer.bos_token_id is not None and with_special[:1] == [tokenizer.bos_token_id] != ids[:1]:
            ids = [tokenizer.bos_token_id, *ids]
    if not ids:
        raise InputError("the prompt has no tokens and the tokenizer adds no BOS\nwrite a longer prompt")
    return ids


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


def _before_reply(tokenizer: Any, turns: Sequence[tuple[str, str]], number: int) -> list[int]:
    """The ids between the previous reply and reply `number`. For the first reply, the ids of the prompt."""
    if number == 0:
        return prompt_ids(tokenizer, turns[0][0])
    if not tokenizer.chat_template:
        return [tokenizer.eos_token_id, *tokenizer(turns[number][0], add_special_tokens=False)["input_ids"]]
    earlier = _rendered(tokenizer, turns, number - 1) + turns[number - 1][1]
    text = _rendered(tokenizer, turns, number)
    if not text.startswith(earlier):
        raise InputError(
            f"the chat template of {tokenizer.name_or_path or 'this tokenizer'} rewrites earlier turns: the text "
            f"before reply {number + 1} does not contain reply {number} unchanged\n"
            "train on single turns, or use another template"
        )
    return tokenizer(text[len(earlier) :], add_special_tokens=False)["input_ids"]


def _rendered(tokenizer: Any, turns: Sequence[tuple[str, str]], number: int) -> str:
    """The conversation up to the opening of reply `number`, as the tokenizer's template writes it."""
    messages = [
        {"role": role, "content": content}
        for turn in turns[: number + 1]
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]
    return render(tokenizer, messages[:-1], add_generation_prompt=True, tokenize=False)


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
    byte_of = [0, *accumulate(len(character.encode()) for character in text)]
    starts, covered = [], 0
    for first, last in spans:
        start = covered if text[covered:first].isspace() else first
        starts.append(byte_of[start] if first >= covered else -1)
        covered = max(covered, last)
    return starts


@lru_cache(maxsize=8)
def _untrimmed(tokenizer: Any) -> Tokenizer:
    """A copy of the tokenizer's backend without its post-processor.

    ByteLevel post-processors remove spaces from both ends of a token's span (in the GPT-2 and Llama-3 families by
    default). Then the token after "\\n   " would seem to start 3 bytes too early. If no special tokens are added, a
    post-processor changes nothing else.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"expected a fast tokenizer: {tokenizer.name_or_path} reports no character spans\nconvert it to a fast one"
        )
    backend: Tokenizer = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.post_processor = None  # pyright: ignore[reportAttributeAccessIssue]
    backend.no_truncation()
    backend.no_padding()
    return backend
