"""The backend "hf": transformers loads the checkpoint, and lm-eval's HFLM decodes or scores."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from gldbench.generate.backend import Completion, Cut, Sampling, fit
from gldbench.generate.checkpoint import Checkpoint, load_tokenizer
from gldbench.generate.lm_backend import LMBackend, PromptIds
from gldbench.generate.logits_fusion import DynamicLogitsFusion, Experts, load_experts
from gldbench.generate.quiet import quiet
from gldfusion.errors import InputError
from gldfusion.model import load_model
from gldfusion.probe import require_causal

_HFLM: Any = HFLM  # lm-eval's registry decorator hides the type of the class
Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


class _RecordingHFLM(_HFLM):
    """An HFLM that reads our token ids, and keeps the new tokens of its last batch and what it cut."""

    ids: PromptIds
    ends: tuple[str, ...]
    """the texts of the tokens at which `generate` stops"""
    new_tokens: torch.Tensor
    cuts: dict[tuple[str, str], Cut]
    experts: Experts | None = None
    """the other models of a mix"""

    def tok_encode(self, string: str, *args: Any, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The ids of a prompt. HFLM asks for text without special tokens only after an empty prompt."""
        if add_special_tokens is False:
            return super().tok_encode(string, *args, add_special_tokens=False, **kwargs)
        return self.ids.of(string)

    def tok_batch_encode(
        self, strings: list[str], padding_side: str = "left", left_truncate_len: int | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The ids of several prompts, padded on the left, and their attention mask."""
        rows = [self.ids.of(string)[-(left_truncate_len or 0) :] for string in strings]
        width = max(map(len, rows))
        padding = [[self.tokenizer.pad_token_id] * (width - len(row)) for row in rows]
        mask = [[0] * len(before) + [1] * len(row) for before, row in zip(padding, rows, strict=True)]
        return torch.tensor([[*before, *row] for before, row in zip(padding, rows, strict=True)]), torch.tensor(mask)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        before, after = self.ids.pair(context, continuation)
        # HFLM reads all tokens but the last one; a continuation that is longer than the context would make it fail
        kept, self.cuts[context, continuation] = fit(before, after, self.max_length + 1)
        return before, kept

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any) -> torch.Tensor:
        # `generate` stops at these tokens anyway; a search for their texts at every step only takes time
        if self.experts is not None:
            kwargs["logits_processor"] = [DynamicLogitsFusion(self.experts, kwargs["attention_mask"])]
        out = super()._model_generate(context, max_length, [s for s in stop if s not in self.ends], **kwargs)
        self.new_tokens = out[:, context.shape[1] :]
        return out

    def _model_call(self, inps: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        logits = super()._model_call(inps, *args, **kwargs)
        if self.experts is None:
            return logits
        with torch.no_grad():
            return self.experts.fuse(logits, {part: m(inps).logits for part, m in self.experts.models.items()})


def load(checkpoint: Checkpoint, device: str | None) -> Loaded:
    """Loads model and tokenizer; of a mix, those of its pivot.

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
    path, trust = checkpoint.pivot, checkpoint.trust_remote_code
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
        super().__init__(lm, PromptIds(tokenizer))
        if checkpoint.mix is not None:
            lm.experts = load_experts(checkpoint.mix, checkpoint.path, model, checkpoint.trust_remote_code)
        stops = [self._lm.eot_token_id, *self._stop_tokens]
        lm.ids, lm.ends = self._ids, tuple(lm.tok_decode(token, skip_special_tokens=False) for token in stops)
        self._ends = {*stops, *_as_list(model.generation_config.eos_token_id)}
        # a checkpoint's own penalties would change what "greedy" means, so all models get the same configuration
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=sorted(self._ends),
            pad_token_id=self._lm.tokenizer.pad_token_id,
        )

    def complete(
        self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str], sampling: Sampling | None = None
    ) -> list[Completion]:
        """Decodes one batch of prompts."""
        if sampling is not None and self._lm.experts is not None:
            # transformers would divide by the temperature before the logits are mixed
            raise InputError("a mix of models decodes greedily, and was asked to draw at random\nleave sampling out")
        if sampling is None:
            order, texts = self._written(prompts, max_tokens, stop)
        else:
            drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
            with torch.random.fork_rng():
                torch.manual_seed(sampling.seed)
                order, texts = self._written(prompts, max_tokens, stop, **drawn)
        rows = self._lm.new_tokens.tolist()
        stop = [*stop, *(end for end in self._turn_end if end not in self._lm.ends)]
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
