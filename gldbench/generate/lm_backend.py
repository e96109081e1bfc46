"""What both backends share, since both run a model class of lm-eval: token ids, counting, asking, scoring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance

from gldbench.generate.backend import TOKENS_PER_BATCH, Likelihood
from gldbench.generate.quiet import quiet
from gldfusion.chat import continuation_ids, prompt_ids, stop_tokens
from gldfusion.turns import turn_end


class PromptIds:
    """The token ids of prompts, as training makes them. A model of lm-eval gets its ids from here."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._known: dict[tuple[str, bool], list[int]] = {}

    def of(self, prompt: str, plain: bool = False) -> list[int]:
        """The ids of a prompt; see `chat.prompt_ids`."""
        if (prompt, plain) not in self._known:
            # lm-eval scores the continuation of an empty prompt after the BOS or end token
            self._known[prompt, plain] = prompt_ids(self.tokenizer, prompt, plain) if prompt or not plain else []
        return self._known[prompt, plain]

    def pair(self, prompt: str, continuation: str) -> tuple[list[int], list[int]]:
        """The ids of a prompt and of its continuation; see `chat.continuation_ids`."""
        return continuation_ids(self.tokenizer, prompt, continuation)


class LMBackend:
    """A model of lm-eval, which records in `cuts` what it cut of each scored pair; see `backend.Backend`."""

    tokens_per_batch: float = TOKENS_PER_BATCH

    def __init__(self, lm: Any, ids: PromptIds) -> None:
        """Takes over a loaded model.

        Args:
            lm: the model, an `lm_eval.api.model.LM` that takes its ids from `ids`.
            ids: makes the token ids.
        """
        self._lm = lm
        self._ids = ids
        self._stop_tokens = stop_tokens(ids.tokenizer)
        end = turn_end(ids.tokenizer)
        # the decoded answer can contain an end that the tokenizer does not mark as special, or that is plain text
        self._turn_end = (end.text.rstrip(),) if end.text.strip() else ()

    def count(self, prompt: str, plain: bool = False) -> int:
        """Counts the ids of a prompt."""
        return len(self._ids.of(prompt, plain))

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Computes the log-likelihoods of one batch of (prompt, continuation) pairs."""
        self._lm.cuts = {}
        requests = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
        with quiet():
            scored = self._lm.loglikelihood(requests, disable_tqdm=True)
        return [
            Likelihood(value, greedy, self._lm.cuts[pair]) for pair, (value, greedy) in zip(pairs, scored, strict=True)
        ]

    def _written(
        self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str], **settings: Any
    ) -> tuple[list[int], list[str]]:
        """Decodes one batch.

        Args:
            prompts: the prompts.
            max_tokens: token limit of an answer.
            stop: stop strings of the task. The end of a turn is added.
            settings: further settings of the library.

        Returns:
            The indices of the prompts in the order in which lm-eval ran them, and the texts in that order. What `lm`
            recorded of its last batch is in this order too.
        """
        order = sorted(range(len(prompts)), key=lambda i: (-self.count(prompts[i]), prompts[i]))  # longest first
        until = [*stop, *(end for end in self._turn_end if end not in stop)]
        whole = {"until": until, "max_gen_toks": max_tokens, "do_sample": False} | settings
        requests = [Instance("generate_until", {}, (prompts[i], whole), place) for place, i in enumerate(order)]
        with quiet():
            return order, self._lm.generate_until(requests, disable_tqdm=True)
