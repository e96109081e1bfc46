"""Turns prompts and conversations into token ids: the same ids in training, in a source and in evaluation.

Every prompt of this project becomes ids in `opening_ids`, and every continuation of a plain text in `tokens.tokens`.
Training uses them through `align.encode`, and the backends of `gldbench.generate` get their ids from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gldfusion.errors import InputError
from gldfusion.templates import DATE, Message
from gldfusion.tokens import text_ids, tokens
from gldfusion.turns import TurnEnd, rendered, text_after, turn_end

RULES = {"rules": 2, "date": DATE}
"""the rules by which this module makes ids, and the date that chat templates are told. Keys of stored logits and of
stored responses contain it"""


@dataclass(frozen=True)
class Part:
    """One reply of a conversation."""

    before: list[int]
    """the ids between the end of the previous reply and this one. For the first reply: the ids of its prompt"""
    reply: str
    end: tuple[int, ...]
    """the ids after the reply that are labels; see `turn_end`"""
    continues: str | None
    """the text that the reply continues; None after a chat template, which separates the two"""


def is_reply(message: Message) -> bool:
    """Whether the pivot learns to write a message: it is the assistant's, and calls no tool."""
    return message["role"] == "assistant" and not message.get("tool_calls")


def prompt_ids(tokenizer: Any, prompt: str, plain: bool = False) -> list[int]:
    """The ids of a prompt, as the model sees it in training and in generation.

    If the tokenizer has a chat template, they are a user turn and the opening of the reply in this template, and
    nothing that the template does not write. Otherwise they are the text as it is, after the BOS token if the tokenizer
    puts one before a text. A tokenizer may put an end token after a text. It is never part of a prompt.

    Args:
        tokenizer: a tokenizer of transformers.
        prompt: the text of the user.
        plain: use no chat template. Log-likelihood tasks ask so, because a choice continues the text of its prompt.

    Raises:
        InputError: there is no id, so no position could predict the first token of a reply; or the template fails.
    """
    return opening_ids(tokenizer, [{"role": "user", "content": prompt}], plain=plain)


def opening_ids(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any] = (), plain: bool = False
) -> list[int]:
    """As `prompt_ids`, for a conversation: the ids up to the opening of the reply that follows `messages`."""
    if tokenizer.chat_template and not plain:
        ids = text_ids(tokenizer, rendered(tokenizer, messages, tools))
    else:
        text = plain_text(messages)
        ids = text_ids(tokenizer, text)
        bos = tokenizer.bos_token_id
        if bos is not None and tokenizer(text)["input_ids"][:1] == [bos] != ids[:1]:
            ids = [bos, *ids]
    if not ids:
        raise InputError("the prompt has no tokens and the tokenizer adds no BOS\nwrite a longer prompt")
    return ids


def continuation_ids(tokenizer: Any, prompt: str, continuation: str) -> tuple[list[int], list[int]]:
    """The ids of a prompt without chat template, and those of a text that continues it.

    They are the ids that training on this pair reads if the tokenizer has no chat template. The continuation gets no
    end token.

    Raises:
        InputError: see `prompt_ids`.
    """
    return prompt_ids(tokenizer, prompt, plain=True), tokens(tokenizer, continuation, prompt)[0]


def parts(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any] = ()) -> list[Part]:
    """Splits a conversation at its replies.

    The ids before a reply are those that generation of this reply would see.

    Args:
        tokenizer: a tokenizer of transformers.
        messages: the turns. The last one is a reply.
        tools: descriptions of tools for the chat template.

    Raises:
        InputError: the chat template rewrites earlier turns, or a prompt makes no ids.
    """
    end, places = turn_end(tokenizer), [place for place, message in enumerate(messages) if is_reply(message)]
    out: list[Part] = []
    for number, place in enumerate(places):
        own = messages[places[number - 1] + 1 if number else 0 : place]
        if not number:
            before = opening_ids(tokenizer, own, tools)
        elif tokenizer.chat_template:
            before, kept = _between(tokenizer, messages, tools, places[number - 1], place, end)
            out[-1] = replace(out[-1], end=kept)
        else:
            before = text_ids(tokenizer, plain_text(own))
        continues = None if tokenizer.chat_template else plain_text(own)
        out.append(Part(before, messages[place]["content"], end.ids, continues))
    return out


def stop_tokens(tokenizer: Any) -> list[int]:
    """The ids at which generation must stop: the end-of-sequence token, and the token that ends a turn."""
    token = turn_end(tokenizer).token
    return sorted({tokenizer.eos_token_id} | ({token} if token is not None else set()))


def plain_text(messages: Sequence[Message]) -> str:
    """What a model without chat template reads of some turns: their contents, with empty lines between them."""
    return "\n\n".join(message.get("content") or "" for message in messages)


def _between(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any], last: int, place: int, end: TurnEnd
) -> tuple[list[int], tuple[int, ...]]:
    """The ids between the replies at `last` and `place`: those after the end of the turn, and those of the end."""
    earlier, text = (rendered(tokenizer, messages[:upto], tools) for upto in (last, place))
    reply = messages[last]["content"]
    between = text_after(reply, text[len(earlier) :]) if text.startswith(earlier) else None
    if between is None:
        raise InputError(
            f"the chat template of {tokenizer.name_or_path or 'this tokenizer'} rewrites earlier turns: the text "
            f"before turn {place + 1} does not contain turn {last + 1} unchanged\n"
            "train on single turns, or use another template"
        )
    ids, _ = tokens(tokenizer, between, reply)
    if tuple(ids[: len(end.ids)]) == end.ids:
        return ids[len(end.ids) :], end.ids
    if between.startswith(end.text):
        return text_ids(tokenizer, between[len(end.text) :]), end.ids
    return ids, ()  # the template does not end this turn as it ends a turn before the user's
