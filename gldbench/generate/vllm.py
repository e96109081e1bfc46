"""The backend "vllm": lm-eval's VLLM decodes or scores.

It was never run with vLLM itself, because no machine of this project has vLLM. Its tests use a stand-in module, and
hold our calls and those of lm-eval against the signatures of vLLM 0.33.0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lm_eval.models.vllm_causallms import VLLM

from gldbench.generate.backend import Completion, Cut, Sampling, fit
from gldbench.generate.checkpoint import Checkpoint, load_tokenizer
from gldbench.generate.lm_backend import LMBackend, PromptIds
from gldbench.generate.quiet import quiet
from gldfusion.errors import InputError

_VLLM: Any = VLLM  # lm-eval's registry decorator hides the type of the class


class _RecordingVLLM(_VLLM):
    """A VLLM that reads our token ids, and keeps vLLM's answers to its last batch and what it cut."""

    ids: PromptIds
    answers: list[Any]
    cuts: dict[tuple[str, str], Cut]

    def tok_encode(self, string: Any, add_special_tokens: bool | None = None, **kwargs: Any) -> Any:
        """The ids of a prompt or of several. VLLM asks for text without special tokens only after an empty prompt."""
        if add_special_tokens is False:
            return super().tok_encode(string, add_special_tokens=False, **kwargs)
        return self.ids.of(string) if isinstance(string, str) else [self.ids.of(one) for one in string]

    def _model_generate(self, *args: Any, **kwargs: Any) -> Any:
        self.answers = super()._model_generate(*args, **kwargs)
        return self.answers

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        before, after = self.ids.pair(context, continuation)
        # vLLM must write one token, even if only the prompt is scored
        kept, self.cuts[context, continuation] = fit(before, after, self.max_length - 1)
        return before, kept


class VLLMBackend(LMBackend):
    """Answers prompts in batches; see `backend.Backend`. vLLM uses the GPUs that CUDA_VISIBLE_DEVICES names.

    vLLM decides itself how many of the sequences of a batch it runs at once, so a batch may be large.
    """

    tokens_per_batch = math.inf

    def __init__(self, checkpoint: Checkpoint, batch_size: int) -> None:
        if checkpoint.mix is not None:
            raise InputError(
                f"{checkpoint.path} is a mix of {len(checkpoint.mix.parts)} models, which the backend vllm cannot run\n"
                "use the backend hf"
            )
        with quiet():
            lm = _RecordingVLLM(
                pretrained=str(checkpoint.path),
                dtype=checkpoint.engine.dtype,
                tensor_parallel_size=checkpoint.engine.tensor_parallel,
                max_model_len=checkpoint.context,
                batch_size=batch_size,
                max_num_seqs=batch_size,
                trust_remote_code=checkpoint.trust_remote_code,
            )
        super().__init__(lm, PromptIds(load_tokenizer(checkpoint.path, checkpoint.trust_remote_code)))
        lm.ids = self._ids

    def complete(
        self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str], sampling: Sampling | None = None
    ) -> list[Completion]:
        """Decodes one batch of prompts."""
        settings: dict[str, Any] = {"stop_token_ids": self._stop_tokens}
        if sampling is not None:
            settings |= {"do_sample": True, "temperature": sampling.temperature, "seed": sampling.seed}
        order, texts = self._written(prompts, max_tokens, stop, **settings)
        written = [answer.outputs[0] for answer in self._lm.answers]
        completions = {
            i: Completion(text, len(own.token_ids), own.finish_reason == "length")
            for i, text, own in zip(order, texts, written, strict=True)
        }
        return [completions[i] for i in range(len(prompts))]
