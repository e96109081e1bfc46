"""What a generation backend has to do, whichever library runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Completion:
    """What a model wrote after one prompt."""

    text: str
    """without stop string and end token"""
    tokens: int
    """tokens written, a final end token counted"""
    truncated: bool
    """the limit came before an end token or a stop string"""


class Backend(Protocol):
    """A loaded model that answers prompts greedily."""

    def render(self, prompt: str) -> str:
        """The text the model reads for a prompt (chat template applied, where there is one)."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a rendered prompt."""
        ...

    def complete(self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str]) -> list[Completion]:
        """One batch: a completion per rendered prompt, in order."""
        ...
