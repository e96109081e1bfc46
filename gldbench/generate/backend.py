"""What a backend has to do, whichever library runs the model."""

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


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds one continuation of a prompt."""

    value: float
    """log-probability of the whole continuation, in nats"""
    greedy: bool
    """greedy decoding would have written it"""
    cut: Cut


@dataclass(frozen=True)
class Cut:
    """What a context was too short for."""

    prompt: bool = False
    """the prompt lost its beginning"""
    continuation: bool = False
    """the continuation lost its end"""


class Backend(Protocol):
    """A loaded model that answers prompts greedily and scores continuations."""

    def render(self, prompt: str) -> str:
        """The text the model reads for a prompt (chat template applied, where there is one)."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a rendered prompt."""
        ...

    def complete(self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str]) -> list[Completion]:
        """One batch: a completion per rendered prompt, in order."""
        ...

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """One batch: the likelihood of each (prompt, continuation), in order; prompts are read as they are."""
        ...


def fit(prompt: list[int], continuation: list[int], room: int) -> tuple[list[int], Cut]:
    """The tokens of a continuation that fit beside one token of its prompt, and what is lost.

    Args:
        room: tokens of prompt and continuation together; lm-eval cuts a longer prompt at its beginning itself.
    """
    kept = continuation[: room - 1]
    return kept, Cut(prompt=len(prompt) + len(kept) > room, continuation=len(kept) < len(continuation))
