"""What both backends share, since both run a model class of lm-eval: rendering, counting, asking, scoring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance

from gldbench.generate.backend import TOKENS_PER_BATCH, Likelihood
from gldbench.generate.quiet import quiet
from gldfusion.errors import InputError
from gldfusion.reading import plain_line, shown


class LMBackend:
    """A model of lm-eval, which records in `cuts` what it cut of each scored pair; see `backend.Backend`."""

    tokens_per_batch: float = TOKENS_PER_BATCH

    def __init__(self, lm: Any, chat: bool) -> None:
        """Takes over a loaded model.

        Args:
            lm: the model, an `lm_eval.api.model.LM`.
            chat: put each prompt into the chat template of `lm` as the user's turn.
        """
        self._lm = lm
        self._chat = chat
        self._lengths: dict[str, int] = {}

    def render(self, prompt: str) -> str:
        """Returns the text that the model reads: the prompt as the user's turn, if there is a chat template."""
        if not self._chat:
            return prompt
        try:
            return self._lm.apply_chat_template([{"role": "user", "content": prompt}])
        except Exception as error:  # a template is a program by others and can raise errors of every class
            raise InputError(
                f"the chat template of the checkpoint fails for the prompt {shown(prompt)}: {plain_line(error)}\n"
                "correct the template (chat_template.jinja or tokenizer_config.json), or remove it to use plain text"
            ) from error

    def count(self, text: str) -> int:
        """Counts the tokens of a rendered prompt."""
        if text not in self._lengths:
            self._lengths[text] = len(self._lm.tok_encode(text))
        return self._lengths[text]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Computes the log-likelihoods of one batch of (prompt, continuation) pairs."""
        self._lm.cuts = {}
        requests = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
        with quiet():
            scored = self._lm.loglikelihood(requests, disable_tqdm=True)
        return [
            Likelihood(value, greedy, self._lm.cuts[pair]) for pair, (value, greedy) in zip(pairs, scored, strict=True)
        ]

    def _written(self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str]) -> tuple[list[int], list[str]]:
        """Decodes one batch greedily.

        Returns:
            The indices of the prompts in the order in which lm-eval ran them, and the texts in that order. What `lm`
            recorded of its last batch is in this order too.
        """
        order = sorted(range(len(prompts)), key=lambda i: (-self.count(prompts[i]), prompts[i]))  # longest first
        settings = {"until": list(stop), "max_gen_toks": max_tokens, "do_sample": False}
        requests = [Instance("generate_until", {}, (prompts[i], settings), place) for place, i in enumerate(order)]
        with quiet():
            return order, self._lm.generate_until(requests, disable_tqdm=True)
