"""Refuses to compare scores that were made differently, unless the caller names the difference."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from gldbench.schema import Task
from gldfusion.errors import InputError, require_known

ACROSS: dict[str, tuple[str, ...]] = {
    "generation": ("decoding", "max_tokens", "backend", "dtype", "tensor_parallel"),
    "stop": ("stop",),
    "chat_template": ("chat_template", "date"),
    "grader": ("grader_version",),
}
"""name of a difference, as `--across` takes it -> the settings that belong to it"""

_WHY = {
    "generation": "other limits, libraries or data types can change answers",
    "stop": "an answer that is cut at another place can be graded differently",
    "chat_template": "the models read different prompts",
    "grader": "other rules can give the same answer another score",
}


def require_names(across: Collection[str]) -> None:
    """Checks that every name is a key of ACROSS.

    Raises:
        InputError: a name is unknown.
    """
    for name in across:
        require_known("difference for --across", name, ACROSS)


def differences(
    task: Task, a: Mapping[str, Collection[str]], b: Mapping[str, Collection[str]], across: Collection[str]
) -> list[str]:
    """Returns a sentence for each difference between two sides that the caller named.

    Args:
        task: the compared task, for the messages.
        a: the sets "settings" (JSON texts of `Row.settings`) and "grader_version" of the first side.
        b: the same of the second side.
        across: keys of ACROSS.

    Raises:
        InputError: the sides differ in something that `across` does not name.
    """
    first, second = _by_setting(a), _by_setting(b)
    notes = []
    for name, settings in ACROSS.items():
        for setting in settings:
            left, right = first.get(setting, set()), second.get(setting, set())
            if len(left | right) <= 1:
                continue
            said = f"task {task.name}: {setting} is {_shown(left)} in A and {_shown(right)} in B"
            if name not in across:
                raise InputError(_refusal(said, name, task))
            notes.append(said)
    return notes


def _by_setting(side: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """setting -> its values, as text. A row that does not know its settings has the value "not recorded" in all."""
    found: dict[str, set[str]] = {"grader_version": {version or "older than 2" for version in side["grader_version"]}}
    for text in side["settings"]:
        known: dict[str, Any] = json.loads(text) if text else {}
        for settings in ACROSS.values():
            for setting in settings:
                if setting != "grader_version":
                    value = json.dumps(known[setting]) if setting in known else "not recorded"
                    found.setdefault(setting, set()).add(value)
    return found


def _shown(values: set[str]) -> str:
    return " or ".join(sorted(values)) or "not recorded"


def _refusal(said: str, name: str, task: Task) -> str:
    again = "run the same `gldbench eval` again: it grades the stored responses again and generates nothing"
    if name == "grader":
        return (
            f"task {task.name}: scores of different versions of the grader {task.headline.grader} "
            f"({said.partition('grader_version is ')[2]})\n"
            f"{again},\nwith the same --output and the same or a larger --limit; or compare with --across grader"
        )
    if "not recorded" in said:
        return f"{said}\n{again} and records it,\nor compare all the same with --across {name}"
    return f"{said}: {_WHY[name]}\nevaluate both alike, or compare all the same with --across {name}"
