"""What a chat template writes around the turns of a conversation, read from conversations that it renders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gldfusion.errors import InputError
from gldfusion.templates import Message, render
from gldfusion.tokens import tokens

_ASKED, _REPLY, _NEXT = "zqasked", "zqreply", "zqnext"
"""contents of turns that are found again in a rendered conversation"""


@dataclass(frozen=True)
class TurnEnd:
    """What ends a turn of the assistant. These tokens are the labels after each reply."""

    ids: tuple[int, ...]
    text: str
    """what generation stops at, as text"""
    token: int | None
    """the token that generation stops at: the last of `ids`. None: the end is plain text, such as "### User:" """


def turn_end(tokenizer: Any) -> TurnEnd:
    """What ends a turn of the assistant, read from a conversation that the chat template renders.

    It is what stands between a reply and the next turn, up to the first special token: an end token of the template
    such as `<|im_end|>`, or the role marker of the next turn such as `<|user|>`. If there is only plain text such as
    "### User:", it is this text. It is the tokenizer's end-of-sequence token if there is no template, or if the
    template writes nothing there.
    """
    if not tokenizer.chat_template:
        return _eos(tokenizer)
    return _turn_end(tokenizer, json.dumps(tokenizer.chat_template, sort_keys=True))


def stop_tokens(tokenizer: Any) -> list[int]:
    """The ids at which generation must stop: the end-of-sequence token, and the token that ends a turn."""
    token = turn_end(tokenizer).token
    return sorted({tokenizer.eos_token_id} | ({token} if token is not None else set()))


def _eos(tokenizer: Any) -> TurnEnd:
    return TurnEnd((tokenizer.eos_token_id,), getattr(tokenizer, "eos_token", None) or "", tokenizer.eos_token_id)


@lru_cache(maxsize=64)
def _turn_end(tokenizer: Any, template: str) -> TurnEnd:
    """See `turn_end`. `template` is the tokenizer's template, which can change: the results are kept by it."""
    text = _after_reply(tokenizer)
    ids, _ = tokens(tokenizer, text, _REPLY)
    special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
    stop = next((place for place, number in enumerate(ids) if special.get(number, "").strip()), None)
    if stop is not None:
        return TurnEnd(tuple(ids[: stop + 1]), special[ids[stop]], ids[stop])
    return TurnEnd(tuple(ids), text, None) if text.strip() else _eos(tokenizer)


def _after_reply(tokenizer: Any) -> str:
    """The text that the chat template writes between a reply and the content of the user's next turn."""
    turns = [("user", _ASKED), ("assistant", _REPLY), ("user", _NEXT)]
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        text = render(tokenizer, messages, add_generation_prompt=True, tokenize=False)
    except InputError:  # a template for one question and one answer
        text = render(tokenizer, messages[:2], add_generation_prompt=False, tokenize=False)
    after = text.rpartition(_REPLY)[2] if _REPLY in text else ""
    return after.partition(_NEXT)[0]


def rendered(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any]) -> str:
    """The conversation up to the opening of the next reply, as the tokenizer's template writes it."""
    options = {"tools": list(tools)} if tools else {}
    text = render(tokenizer, messages, add_generation_prompt=True, tokenize=False, **options)
    return text + _missing_opening(tokenizer, json.dumps(tokenizer.chat_template, sort_keys=True))


@lru_cache(maxsize=64)
def _missing_opening(tokenizer: Any, template: str) -> str:
    """What a template that ignores `add_generation_prompt` writes before a reply, without spaces at its end.

    It is empty for all other templates, and if only white space stands before a reply.
    """
    asked = [{"role": "user", "content": _ASKED}]
    shut, opened = (render(tokenizer, asked, add_generation_prompt=opens, tokenize=False) for opens in (False, True))
    if shut != opened:
        return ""
    try:
        reply = [*asked, {"role": "assistant", "content": _REPLY}]
        text = render(tokenizer, reply, add_generation_prompt=False, tokenize=False)
    except InputError:  # a template for questions only
        return ""
    opening = text.removeprefix(shut).partition(_REPLY)[0] if text.startswith(shut) and _REPLY in text else ""
    return opening.rstrip(" ") if opening.strip() else ""


def text_after(reply: str, text: str) -> str | None:
    """The part of `text` after the reply. Templates may put white space before it, and remove white space around it."""
    for said in (reply, reply.strip()):
        for start in (0, len(text) - len(text.lstrip())):
            if text.startswith(said, start):
                return text[start + len(said) :]
    return None
