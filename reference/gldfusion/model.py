"""Loads checkpoints, and defines the module that turns their hidden states into the signals that losses read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from gldfusion.errors import InputError
from gldfusion.files import hash_json
from gldfusion.inputs import Inputs
from gldfusion.kernels import topk_cross_entropy
from gldfusion.paths import require_checkpoint
from gldfusion.signals import PivotSignal


@dataclass(frozen=True)
class AfterHead:
    """What a model does to its logits after the output embedding: it multiplies by `scale`, then applies `softcap`."""

    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, config: PreTrainedConfig) -> AfterHead:
        """Reads them from a configuration.

        The names are those of Cohere (logit_scale), Granite (logits_scaling, a divisor) and Gemma
        (final_logit_softcapping).
        """
        scale, divisor, cap = (
            getattr(config, name, None) for name in ("logit_scale", "logits_scaling", "final_logit_softcapping")
        )
        return cls(float(scale or 1) / float(divisor or 1), cap)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Turns off the progress bars of transformers for reading and writing weights; the caller reports progress."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _short(error: Exception) -> str:
    """The message of a library's error on one line, at most 200 characters."""
    return " ".join(str(error).split())[:200]


def load_model(path: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Loads a causal language model from a local folder, in evaluation mode.

    Raises:
        InputError: the folder is not a checkpoint, or weights are missing or broken.
    """
    require_checkpoint(path)
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        with no_progress_bars():
            loaded = AutoModelForCausalLM.from_pretrained(
                path, config=config, dtype=dtype, local_files_only=True, output_loading_info=True
            )
        model, report = cast(tuple[PreTrainedModel, dict[str, set[str]]], loaded)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"not a checkpoint: transformers cannot load {path}\n{_short(error)}") from error
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        raise InputError(
            f"not a checkpoint: the weights in {path} lack {', '.join(missing[:3])} ({len(missing)} in all)\n"
            f"expected all weights of a {type(model).__name__}"
        )
    return model.eval()


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """Loads the tokenizer of a checkpoint.

    Raises:
        InputError: there is none, it is not a fast tokenizer, or it has no end-of-sequence token.
    """
    require_checkpoint(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"no tokenizer in {path}: {_short(error)}\nsave it there with `tokenizer.save_pretrained`"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(
            f"the tokenizer of {path} is not a fast one\n"
            "convert it: the alignment needs token offsets, which only fast tokenizers report"
        )
    if tokenizer.eos_token is None:
        raise InputError(
            f"the tokenizer of {path} has no end-of-sequence token\nset its eos_token: every response ends with it"
        )
    return tokenizer


def vocabulary_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 (hex) of the map from token to id.

    Two tokenizers with equal hashes have the same vocabulary: logits can be compared entry by entry.
    """
    return hash_json(sorted(tokenizer.get_vocab().items()))


def parameter_count(model: nn.Module) -> int:
    """The number of parameters. Tied parameters count once."""
    return sum(p.numel() for p in model.parameters())


class SignalModel(nn.Module):
    """A causal language model whose forward pass returns signals at labelled positions instead of all logits."""

    def __init__(self, model: PreTrainedModel, k: int | None, with_logits: bool = False) -> None:
        """Wraps a model.

        Args:
            model: the language model.
            k: how many logits the signals keep per position; None keeps the whole vocabulary.
            with_logits: whether the signals also hold all logits (`PivotSignal.logits`).

        Raises:
            InputError: k is larger than the vocabulary.
        """
        super().__init__()
        self.model = model
        self.vocabulary: int = cast(nn.Linear, model.get_output_embeddings()).weight.shape[0]
        if k is not None and k > self.vocabulary:
            raise InputError(
                f"k = {k} is above the vocabulary of {model.name_or_path} ({self.vocabulary} entries)\n"
                f"set k to at most {self.vocabulary}"
            )
        self.k = self.vocabulary if k is None else k
        self.with_logits = with_logits
        self.after_head = AfterHead.of(model.config)

    def forward(self, inputs: Inputs) -> PivotSignal:
        """The signals [B, T, ...] of a batch; they are 0 at masked positions."""
        base, mask = cast(nn.Module, self.model.base_model), inputs.mask
        hidden = base(
            input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, use_cache=False
        ).last_hidden_state  # [B, L, H]
        rows = torch.arange(len(mask), device=mask.device)[:, None].expand_as(mask)
        picked = hidden[rows[mask], inputs.positions[mask]]  # [N, H]
        head = cast(nn.Linear, self.model.get_output_embeddings())
        after = self.after_head
        out = topk_cross_entropy(
            picked,
            head.weight,
            inputs.labels[mask],
            self.k,
            bias=head.bias,
            scale=after.scale,
            softcap=after.softcap,
        )

        def spread(flat: Tensor) -> Tensor:
            """[N, ...] at unmasked positions -> [B, T, ...] with 0 at masked positions."""
            full = flat.new_zeros(*mask.shape, *flat.shape[1:])
            full[mask] = flat
            return full

        logits = spread(_all_logits(picked, head, after)) if self.with_logits else None
        return PivotSignal(
            values=spread(out.values),
            ids=spread(out.ids),
            lse=spread(out.lse),
            mean=spread(out.mean),
            std=spread(out.std),
            mask=mask,
            nll=spread(out.nll),
            labels=inputs.labels,
            logits=logits,
        )


def _all_logits(hidden: Tensor, head: nn.Linear, after: AfterHead) -> Tensor:
    """All logits [N, V], in the precision of the kernel, so that they equal the kept ones under autocast too."""
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        bias = None if head.bias is None else head.bias.to(dtype)
        logits = linear(hidden.to(dtype), head.weight.to(dtype), bias) * after.scale
        return logits if after.softcap is None else after.softcap * (logits / after.softcap).tanh()
