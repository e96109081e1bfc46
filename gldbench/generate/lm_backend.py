"""What the backends over lm-eval's model classes share: rendering, counting, asking, log-likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance

from gldbench.generate.backend import Likelihood
from gldbench.generate.quiet import quiet


class LMBackend:
    """A model of lm-eval's that records in `cuts` what it cut of each scored pair; see `backend.Backend`."""

    def __init__(self, lm: Any, chat: bool) -> None:
        """`chat`: prompts are a user's turn in the chat template that `lm` knows."""
        self._lm = lm
        self._chat = chat
        self._lengths: dict[str, int] = {}

    def render(self, prompt: str) -> str:
        """The text the model reads: the prompt as a user's turn where the checkpoint has a chat template."""
        return self._lm.apply_chat_template([{"role": "user", "content": prompt}]) if self._chat else prompt

    def count(self, text: str) -> int:
        """Tokens of a rendered prompt."""
        if text not in self._lengths:
            self._lengths[text] = len(self._lm.tok_encode(text))
        return self._lengths[text]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Log-likelihoods of one batch of (prompt, continuation)."""
        self._lm.cuts = {}
        requests = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
        with quiet():
            scored = self._lm.loglikelihood(requests, disable_tqdm=True)
        return [
            Likelihood(value, greedy, self._lm.cuts[pair]) for pair, (value, greedy) in zip(pairs, scored, strict=True)
        ]

    def _written(self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str]) -> tuple[list[int], list[str]]:
        """The places of one batch's prompts in the order in which `lm` ran and recorded them, and the greedy texts.

        Only in this order of lm-eval's own do its records of the last batch belong to the texts.
        """
        order = sorted(range(len(prompts)), key=lambda i: (-self.count(prompts[i]), prompts[i]))  # longest first
        settings = {"until": list(stop), "max_gen_toks": max_tokens, "do_sample": False}
        requests = [Instance("generate_until", {}, (prompts[i], settings), place) for place, i in enumerate(order)]
        with quiet():
            return order, self._lm.generate_until(requests, disable_tqdm=True)
