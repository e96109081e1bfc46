"""What a backend must do, whichever library runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

TOKENS_PER_BATCH = 2**15
"""most tokens of prompts, answers and padding in one batch; it limits the memory that long prompts take"""


@dataclass(frozen=True)
class Completion:
    """What a model wrote after one prompt."""

    text: str
    """the answer, without its stop string and end token"""
    tokens: int
    """number of tokens written; a final end token counts"""
    truncated: bool
    """the model reached the token limit before an end token or a stop string"""


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds one continuation of a prompt."""

    value: float
    """log-probability of the whole continuation, in nats"""
    greedy: bool
    """True if greedy decoding would have written this continuation"""
    cut: Cut


@dataclass(frozen=True)
class Cut:
    """What a backend cut off because the context of the model was too short."""

    prompt: bool = False
    """the prompt lost its beginning"""
    continuation: bool = False
    """the continuation lost its end"""


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn at random."""

    temperature: float
    """what the logits are divided by, above 0"""
    seed: int
    """the same batch with the same seed gets the same answers on the same machine"""


class Backend(Protocol):
    """A loaded model that answers prompts and scores continuations.

    Prompts come as the items have them. `gldfusion.chat` makes the token ids, for training and for every backend: a
    backend passes ids to its library, and stops at `chat.stop_tokens`.
    """

    @property
    def tokens_per_batch(self) -> float:
        """Most tokens of prompts, answers and padding in one batch of answers.

        It is infinite if the library itself limits what it runs at once.
        """
        ...

    def count(self, prompt: str, plain: bool = False) -> int:
        """Counts the ids of a prompt, in its chat template or, for a prompt that is scored, plain."""
        ...

    def complete(
        self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str], sampling: Sampling | None = None
    ) -> list[Completion]:
        """Answers one batch of prompts, greedily if there is no `sampling`, in the order of the prompts."""
        ...

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Scores one batch of (prompt, continuation) pairs, in their order. No chat template is applied."""
        ...


def fit(prompt: list[int], continuation: list[int], room: int) -> tuple[list[int], Cut]:
    """Cuts a continuation so that at least one token of its prompt fits before it.

    lm-eval itself cuts the beginning of a prompt that is still too long.

    Args:
        prompt: token ids of the prompt.
        continuation: token ids of the continuation.
        room: number of tokens that prompt and continuation may have together.

    Returns:
        The tokens of the continuation that are kept, and what will be cut.
    """
    kept = continuation[: room - 1]
    return kept, Cut(prompt=len(prompt) + len(kept) > room, continuation=len(kept) < len(continuation))
