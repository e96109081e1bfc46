"""Chat templates of checkpoints. They are programs by others, so each is tried out before it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from gldfusion import template_trial
from gldfusion.errors import InputError
from gldfusion.reading import plain_line

Message = dict[str, Any]
"""a turn of a conversation: its role, its content, and what else a template reads of it"""

DATE = "2024-07-26"
"""the day that it is for every chat template. It is the default of Llama 3's templates"""
WAIT = 60
"""seconds, also on a busy machine, after which a trial is stopped"""
_MEND = "correct the template (chat_template.jinja or tokenizer_config.json), or remove it to use plain text"


def render(tokenizer: Any, messages: Sequence[Message], **options: Any) -> Any:
    """`tokenizer.apply_chat_template` on the day `DATE`, with errors of the template in words.

    Some templates write the day into the prompt (Llama 3, Mistral Small). By the clock of the machine, a model would
    be trained, stored and evaluated with other prompts every day.

    Args:
        tokenizer: a tokenizer of transformers that has a chat template.
        messages: the conversation.
        options: of `apply_chat_template`.

    Raises:
        InputError: the template is not Jinja, or it raises an error. The message names the checkpoint.
    """
    try:
        template = tokenizer.get_chat_template(tools=options.get("tools"))
        if "strftime_now" in template:
            options["chat_template"] = _CLOCK + template
        return tokenizer.apply_chat_template(list(messages), **options)
    except Exception as error:  # a template can raise errors of every class
        name = tokenizer.name_or_path or "this tokenizer"
        raise InputError(
            f"the chat template of {name} fails ({type(error).__name__}): {plain_line(error)}\n{_MEND}"
        ) from error


def _clock() -> str:
    """A Jinja macro that stands in for the clock of transformers: it writes the midnight of the day `DATE`.

    transformers hands no functions to templates, so the macro replaces each directive of a format by its value. The
    line break at its end belongs to the macro: transformers renders with `trim_blocks`.
    """
    day = datetime.fromisoformat(DATE)
    directives = [f"%{form}" for form in ("-d", "-m", "-H", "-I", "-M", "-S", *"aAbBcdefHIjmMpSUwWxXyYzZ")]
    values = "".join(f" | replace({form!r}, {day.strftime(form)!r})" for form in directives)
    kept = f"format | replace('%%', '\\x00'){values} | replace('\\x00', '%')"
    return f"{{% macro strftime_now(format) %}}{{{{ {kept} }}}}{{% endmacro %}}\n"


_CLOCK = _clock()


def require_template(tokenizer: Any, path: Path) -> None:
    """Checks that the chat template of a tokenizer, if it has one, ends and writes a user's turn.

    Args:
        tokenizer: a tokenizer of transformers.
        path: folder of the checkpoint, for the message.

    Raises:
        InputError: the template is not Jinja, raises an error, or takes too much time or memory.
    """
    if not tokenizer.chat_template:
        return
    if problem := _trial(json.dumps(tokenizer.chat_template)):
        raise InputError(f"the chat template of {path} {problem}\n{_MEND}")
    written = render(tokenizer, [{"role": "user", "content": "Hello."}], add_generation_prompt=True, tokenize=False)
    if not isinstance(written, str):
        raise InputError(f"the chat template of {path} writes no text\n{_MEND}")


@lru_cache(maxsize=64)
def _trial(template: str) -> str | None:
    """Renders a template in a process of its own with little time and memory. Says what is wrong; None if it ends.

    Args:
        template: the template, as JSON.
    """
    command = [sys.executable, "-P", template_trial.__file__]
    try:
        done = subprocess.run(command, input=template, capture_output=True, text=True, timeout=WAIT)
    except subprocess.TimeoutExpired:
        return f"does not end within {WAIT} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"does not end within {template_trial.SECONDS} s of processor time"
    if done.returncode == template_trial.TOO_LARGE:
        return f"takes more than {template_trial.BYTES >> 20} MiB of memory"
    return f"cannot be tried out: {' '.join(done.stderr.split())[-200:]}"
