"""The backend "hf": transformers loads the checkpoint, and lm-eval's HFLM decodes greedily or scores."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from gldbench.generate.backend import Completion, Cut, fit
from gldbench.generate.checkpoint import Checkpoint, load_tokenizer
from gldbench.generate.lm_backend import LMBackend
from gldbench.generate.quiet import quiet
from gldfusion.errors import InputError
from gldfusion.model import load_model
from gldfusion.probe import require_causal

_HFLM: Any = HFLM  # lm-eval's registry decorator hides the type of the class
Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


class _RecordingHFLM(_HFLM):
    """An HFLM that also keeps the new tokens of its last batch and what it cut; HFLM returns neither."""

    new_tokens: torch.Tensor
    cuts: dict[tuple[str, str], Cut]

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        before, after = super()._encode_pair(context, continuation)
        # HFLM reads all tokens but the last one; a continuation that is longer than the context would make it fail
        kept, self.cuts[context, continuation] = fit(before, after, self.max_length + 1)
        return before, kept

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any) -> torch.Tensor:
        # `generate` stops at the end token anyway; a search for the text of that token at every step only takes time
        end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        out = super()._model_generate(context, max_length, [s for s in stop if s != end], **kwargs)
        self.new_tokens = out[:, context.shape[1] :]
        return out


def load(checkpoint: Checkpoint, device: str | None) -> Loaded:
    """Loads model and tokenizer.

    Args:
        checkpoint: what `open_checkpoint` returned.
        device: "cpu", "cuda", ...; None: a GPU if there is one.

    Raises:
        InputError: the engine asks for several GPUs, the checkpoint cannot be loaded (see
            `gldfusion.model.load_model`), its attention sees later tokens, or the tokenizer has more tokens than the
            model.
    """
    if checkpoint.engine.tensor_parallel > 1:
        raise InputError(
            f"the backend hf runs a model on one device, not on {checkpoint.engine.tensor_parallel}\n"
            "use the backend vllm, or set tensor_parallel to 1"
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    path, trust = checkpoint.path, checkpoint.trust_remote_code
    tokenizer = load_tokenizer(path, trust)
    name = checkpoint.engine.dtype
    model: Any = load_model(path, dtype="auto" if name == "auto" else getattr(torch, name), trust_remote_code=trust)
    embedded = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > embedded:
        raise InputError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens, but the model has embeddings for {embedded}\n"
            "save the tokenizer that the model was trained with"
        )
    model.to(device)
    require_causal(model)
    return model, tokenizer


def _as_list(ids: Any) -> list[int]:
    """The end tokens of a generation configuration, which holds None, one id or a list."""
    if ids is None:
        return []
    return list(ids) if isinstance(ids, list | tuple) else [ids]


class HFBackend(LMBackend):
    """Answers prompts in batches; see `backend.Backend`."""

    def __init__(self, checkpoint: Checkpoint, loaded: Loaded, batch_size: int) -> None:
        model, tokenizer = loaded
        with quiet():
            lm: Any = _RecordingHFLM(
                pretrained=model,
                tokenizer=tokenizer,
                batch_size=batch_size,
                trust_remote_code=checkpoint.trust_remote_code,
            )
        super().__init__(lm, checkpoint.chat_template is not None)
        self._ends = {self._lm.eot_token_id, *_as_list(model.generation_config.eos_token_id)}
        # a checkpoint's own penalties would change what "greedy" means, so all models get the same configuration
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=sorted(self._ends),
            pad_token_id=self._lm.tokenizer.pad_token_id,
        )

    def complete(self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str]) -> list[Completion]:
        """Decodes one batch of rendered prompts greedily."""
        order, texts = self._written(prompts, max_tokens, stop)
        rows = self._lm.new_tokens.tolist()
        completions = {
            i: self._completion(text, row, max_tokens, stop) for i, text, row in zip(order, texts, rows, strict=True)
        }
        return [completions[i] for i in range(len(prompts))]

    def _completion(self, text: str, row: list[int], max_tokens: int, stop: Sequence[str]) -> Completion:
        """Counts the tokens of one answer.

        Args:
            text: the answer.
            row: its new token ids; after its end a row goes on until the whole batch has ended.
            max_tokens: token limit of the answer.
            stop: stop strings.
        """
        end = next((place for place, token in enumerate(row) if token in self._ends), None)
        row = row if end is None else row[: end + 1]

        def has_stop(length: int) -> bool:
            beginning = self._lm.tok_decode(row[:length])
            return any(string in beginning for string in stop)

        stopped = bool(stop) and has_stop(len(row))
        tokens = len(row)
        if stopped:
            tokens = 1 + bisect.bisect_left(range(1, len(row) + 1), True, key=has_stop)
        return Completion(text, tokens, truncated=end is None and not stopped and tokens >= max_tokens)
