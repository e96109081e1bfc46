"""Stands in for vLLM in tests: the calls that lm-eval makes, answered by transformers, one prompt after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass
class SamplingParams:
    """The fields that lm-eval sets; any other is refused, as vLLM does."""

    temperature: float = 1.0
    max_tokens: int = 16
    stop: list[str] = field(default_factory=list)
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    stop_token_ids: list[int] = field(default_factory=list)
    seed: int | None = None


class TokensPrompt(dict[str, Any]):
    """A prompt as token ids."""


class LLM:
    """vLLM's engine, without a batch. It keeps the token ids of every prompt that it got in `read`."""

    read: ClassVar[list[list[int]]] = []

    def __init__(self, model: str, max_model_len: int, **settings: Any) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(model).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.settings = settings
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=max_model_len))

    def generate(
        self, prompts: list[TokensPrompt], sampling_params: list[SamplingParams], use_tqdm: bool, lora_request: Any
    ) -> list[SimpleNamespace]:
        """One answer per prompt, in order."""
        assert not use_tqdm
        assert len(prompts) <= self.settings["max_num_seqs"]
        self.read.extend(list(p["prompt_token_ids"]) for p in prompts)
        return [self._answer(list(p["prompt_token_ids"]), s) for p, s in zip(prompts, sampling_params, strict=True)]

    def _answer(self, prompt: list[int], settings: SamplingParams) -> SimpleNamespace:
        random = torch.Generator().manual_seed(settings.seed or 0)
        if len(prompt) + settings.max_tokens > self.llm_engine.model_config.max_model_len:
            raise ValueError("the prompt leaves no room for the answer")
        written, text, reason = list[int](), "", "length"
        while reason == "length" and len(written) < settings.max_tokens:
            logits = self._logits([*prompt, *written])[-1]
            if settings.temperature:
                drawn = torch.multinomial((logits / settings.temperature).softmax(-1), 1, generator=random)
                written.append(int(drawn))
            else:
                written.append(int(logits.argmax()))
            if written[-1] in (self.tokenizer.eos_token_id, *settings.stop_token_ids):
                reason = "stop"  # the end token counts, its text is left out
                continue
            text = self.tokenizer.decode(written)
            found = [text.index(stop) for stop in settings.stop if stop in text]
            if found:
                text, reason = text[: min(found)], "stop"
        output = SimpleNamespace(text=text, token_ids=tuple(written), finish_reason=reason)
        return SimpleNamespace(outputs=[output], prompt_logprobs=self._logprobs(prompt, settings))

    def _logprobs(self, prompt: list[int], settings: SamplingParams) -> list[dict[int, Any] | None] | None:
        if settings.prompt_logprobs is None:
            return None
        rows = self._logits(prompt).log_softmax(-1)
        known = [
            {token: SimpleNamespace(logprob=float(row[token])) for token in {following, int(row.argmax())}}
            for row, following in zip(rows, prompt[1:], strict=False)
        ]
        return [None, *known]

    @torch.no_grad()
    def _logits(self, tokens: list[int]) -> torch.Tensor:
        return self.model(torch.tensor([tokens])).logits[0]
