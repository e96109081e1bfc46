"""Turns a record of training data into an example: a prompt with its response, or a conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from gldfusion.chat import is_reply
from gldfusion.sources import Example
from gldfusion.templates import Message

EXPECTED = {
    "messages": '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}, ...]}',
    "conversations": '{"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}, ...]}',
}
"""key of a conversation -> the form, for messages"""
ROLES = ("system", "user", "assistant", "tool")
SHAREGPT = {"human": "user", "gpt": "assistant", "observation": "tool", "function_response": "tool"}
"""names of ShareGPT -> roles; `ROLES` stand for themselves"""
KEPT = ("tool_calls", "tool_call_id", "name")
"""what a turn may have besides role and content"""


def example_of(record: Any, number: str) -> Example:
    """Makes an example of a record.

    Args:
        record: an object with "prompt" and "response", or with "messages" or "conversations". It may have an "id" and
            a "group".
        number: the id of a record that has none.

    Raises:
        ValueError, KeyError, TypeError: the record has another form.
    """
    if not isinstance(record, Mapping):
        raise TypeError(f"expected an object, got {type(record).__name__}")
    return replace(_example(record, str(record.get("id", number))), group=str(record.get("group", "")))


def _example(record: Mapping[str, Any], own_id: str) -> Example:
    for name in EXPECTED:
        if name in record:
            return _conversation(own_id, [_turn(one) for one in _list(record[name], name)], _tools(record.get("tools")))
    prompt, response = record["prompt"], record["response"]
    if not isinstance(prompt, str) or not isinstance(response, str):
        raise TypeError("prompt and response must be strings")
    _require_text(prompt, response)
    return Example(own_id, prompt, response)


def _conversation(own_id: str, messages: list[Message], tools: list[Any]) -> Example:
    roles = [message["role"] for message in messages]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    wrong = talk[:1] != ["user"] or talk[-1:] != ["assistant"] or "system" in talk
    if wrong or any(after not in FOLLOWERS[before] for before, after in pairwise(talk)):
        raise ValueError(
            "turns of user and assistant must alternate and end with the assistant; a system turn may come first, and "
            f"tool turns follow the assistant's; got {roles}"[:300]
        )
    if not is_reply(messages[-1]):
        raise ValueError("the last turn calls a tool: a conversation ends with a reply")
    prompt, reply = messages[-2].get("content", ""), messages[-1]["content"]
    simple = not tools and talk == roles == ["user", "assistant"] * (len(roles) // 2)
    if simple and all(message.keys() == {"role", "content"} for message in messages):
        said = [message["content"] for message in messages]
        return Example(own_id, prompt, reply, tuple(zip(said[:-2:2], said[1:-2:2], strict=True)))
    whole = {"messages": messages} | ({"tools": tools} if tools else {})
    return Example(own_id, prompt, reply, chat=json.dumps(whole, ensure_ascii=False, sort_keys=True))


FOLLOWERS = {"user": ("assistant",), "assistant": ("user", "tool"), "tool": ("tool", "assistant"), "system": ()}
"""role -> the roles that may come next"""


def _turn(given: Any) -> Message:
    if not isinstance(given, Mapping):
        raise TypeError(f"a turn must be an object, got {type(given).__name__}")
    name = given["from"] if "from" in given and "role" not in given else given["role"]
    role = SHAREGPT.get(name, name) if isinstance(name, str) else name
    if role not in ROLES:
        raise ValueError(f"no role is called {name!r:.40}; known: {', '.join((*ROLES, *SHAREGPT))}")
    extra = {key: given[key] for key in KEPT if given.get(key)}
    content = given.get("value") if "content" not in given and "value" in given else given.get("content")
    if content is None and not extra.get("tool_calls"):
        raise KeyError("content")
    text = _text(content) if content is not None else ""
    _require_text(text)
    return {"role": role, "content": text, **extra}


def _text(content: Any) -> str:
    """The text of a content, which can be a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise TypeError("prompt and response must be strings")
    texts = []
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f'a part of a content must be {{"type": "text", "text": ...}}, got the type {kind!r:.40}')
        texts.append(part["text"])
    return "".join(texts)


def _tools(given: Any) -> list[Any]:
    """The descriptions of tools. Data sets of the hub often hold them as JSON text."""
    found = json.loads(given) if isinstance(given, str) and given else given or []
    return _list(found, "tools")


def _list(given: Any, name: str) -> list[Any]:
    if not isinstance(given, list | tuple):
        raise TypeError(f'"{name}" must be a list, got {type(given).__name__}')
    return list(given)


def _require_text(*texts: str) -> None:
    """Refuses half a surrogate pair, which JSON can contain and UTF-8 cannot."""
    for text in texts:
        text.encode()
