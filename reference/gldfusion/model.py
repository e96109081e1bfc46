"""Loads checkpoints, and defines the module that turns their hidden states into the signals that losses read."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from gldfusion.checkpoint import BROKEN, reading, require_depth, require_intact, require_settings
from gldfusion.errors import InputError
from gldfusion.files import hash_json
from gldfusion.hashes import TOKENIZER_FILES
from gldfusion.inputs import Inputs
from gldfusion.kernels import logits_at, topk_cross_entropy
from gldfusion.kernels.arguments import Use
from gldfusion.kernels.dispatch import Implementation
from gldfusion.kernels.products import autocast_factors
from gldfusion.kernels.scratch import Scratch
from gldfusion.paths import require_checkpoint
from gldfusion.probe import AfterHead, hidden_states, measure, output_layer, require_own_logits
from gldfusion.signals import PivotSignal
from gldfusion.templates import require_template

PACKED = 64
"""at most so many parameters are packed into one stored number, in quantised weights"""


@contextmanager
def quiet() -> Iterator[None]:
    """Turns off the progress bars and warnings of transformers; the caller reports progress and checks the result."""
    shown, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if shown:
            transformers_logging.enable_progress_bar()


def load_model(
    path: Path,
    dtype: torch.dtype | str = torch.float32,
    trust_remote_code: bool = False,
    quantization: QuantizationConfigMixin | None = None,
    device: torch.device | None = None,
) -> PreTrainedModel:
    """Loads a causal language model from a local folder, in evaluation mode.

    Args:
        path: folder of the checkpoint.
        dtype: type of the weights in memory; "auto": the type in which they are stored; or a name such as "bfloat16".
        trust_remote_code: whether code that the checkpoint brings may run.
        quantization: how the weights of linear layers are quantised in memory. None: they are not.
        device: where the weights go, straight from the files. None: into main memory.

    Raises:
        InputError: the folder is not a checkpoint, files in it are damaged, or weights are missing.
    """
    require_checkpoint(path, trust_remote_code)
    require_intact(path)
    require_settings(path)
    stored = require_depth(path)
    with reading(path, "the model"), quiet():
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
        _require_size(path, config, stored, trust_remote_code)
        loaded = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            local_files_only=True,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            **({} if quantization is None else {"quantization_config": quantization}),
            **({} if device is None else {"device_map": {"": device}}),
        )
    model, report = cast(tuple[PreTrainedModel, dict[str, set[str]]], loaded)
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        raise InputError(
            f"not a checkpoint: the weights in {path} lack {', '.join(missing[:3])} ({len(missing)} in all)\n"
            f"expected all weights of a {type(model).__name__}"
        )
    return model.eval()


def model_without_weights(path: Path, dtype: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """The model of a checkpoint, in evaluation mode, with parameters and buffers that have shapes only.

    They are on the device "meta" and need no memory.

    Args:
        path: folder of the checkpoint.
        dtype: type of the weights, such as "float32". Some that `load_model` keeps in float32 have this type here.
        trust_remote_code: whether code that the checkpoint brings may run.

    Raises:
        InputError: the folder is not a checkpoint, or files in it are damaged.
    """
    require_checkpoint(path, trust_remote_code)
    require_settings(path)
    with reading(path, "the model"), quiet():
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                config, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code
            )
    return model.eval()


def _require_size(path: Path, config: PreTrainedConfig, stored: int, trust_remote_code: bool) -> None:
    """Checks that a model is not far larger than its weights, before memory is allocated for it.

    Args:
        path: folder of the checkpoint, for the message.
        config: its configuration.
        stored: how many numbers the weights hold.
        trust_remote_code: whether code that the checkpoint brings may run.

    Raises:
        InputError: it is.
    """
    with torch.device("meta"):  # allocates nothing
        size = parameter_count(AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code))
    if size > PACKED * stored:
        raise InputError(
            f"not a checkpoint: the configuration in {path} asks for {size} parameters, "
            f"but the weights hold {stored} numbers\n{BROKEN}"
        )


def load_tokenizer(path: Path, trust_remote_code: bool = False, weights: bool = True) -> PreTrainedTokenizerFast:
    """Loads the tokenizer of a checkpoint.

    Args:
        path: folder of the checkpoint.
        trust_remote_code: whether code that the checkpoint brings may run.
        weights: whether the weights must be there too.

    Raises:
        InputError: there is none, its files are damaged, it is not a fast tokenizer, it has no end-of-sequence token,
            or its chat template cannot be used.
    """
    require_checkpoint(path, trust_remote_code, weights)
    require_intact(path, TOKENIZER_FILES)
    require_settings(path)
    with reading(path, "the tokenizer"), quiet():
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(
            f"the tokenizer of {path} is not a fast one\n"
            "convert it: the alignment needs token offsets, which only fast tokenizers report"
        )
    if tokenizer.eos_token is None:
        raise InputError(
            f"the tokenizer of {path} has no end-of-sequence token\nset its eos_token: every response ends with it"
        )
    require_template(tokenizer, path)
    return tokenizer


def vocabulary_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 (hex) of the map from token to id.

    Two tokenizers with equal hashes have the same vocabulary: logits can be compared entry by entry.
    """
    return hash_json(sorted(tokenizer.get_vocab().items()))


def vocabulary_size(tokenizer: PreTrainedTokenizerFast) -> int:
    """The largest id of a token + 1. Some smaller ids may be unused."""
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def parameter_count(model: nn.Module) -> int:
    """The number of parameters. Tied parameters count once."""
    return sum(p.numel() for p in model.parameters())


def trained_count(model: nn.Module) -> int:
    """The number of parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


class SignalModel(nn.Module):
    """A causal language model whose forward pass returns signals at labelled positions instead of all logits."""

    def __init__(
        self,
        model: PreTrainedModel,
        k: int | None,
        needs: Collection[str] = (),
        kernel: Implementation = "auto",
        after_head: AfterHead | None = None,
    ) -> None:
        """Wraps a model.

        Args:
            model: the language model.
            k: how many logits the signals keep per position; None keeps the whole vocabulary.
            needs: what the losses read besides values, mask and nll (`Loss.needs`).
            kernel: `impl` of `topk_cross_entropy`.
            after_head: what another process measured, where this one has no weights. None: it is measured.

        Raises:
            InputError: k is larger than the vocabulary, or the signals would not be those of the model's own logits
                (see `probe`).
        """
        super().__init__()
        self.model = model
        self.after_head = measure(model) if after_head is None else after_head
        self.vocabulary = self.after_head.entries
        if k is not None and k > self.vocabulary:
            raise InputError(
                f"k = {k} is above the vocabulary of {model.name_or_path} ({self.vocabulary} entries)\n"
                f"set k to at most {self.vocabulary}"
            )
        self.k = self.vocabulary if k is None else k
        self.with_logits = "logits" in needs
        self.kernel: Implementation = kernel
        statistics = {"lse", "moments", "logits", "nll"} & set(needs)
        self.use: Use = "any" if statistics else "sum"
        self.scratch = Scratch()
        if after_head is None:
            with self.any_kernel():
                require_own_logits(self)

    @contextmanager
    def any_kernel(self) -> Iterator[None]:
        """Inside, the kernel is `auto`.

        Checks of the model use it: they run before the model is on its device, and in float32, for which Triton would
        compile and tune its kernels first.
        """
        chosen, self.kernel = self.kernel, "auto"
        try:
            yield
        finally:
            self.kernel = chosen

    def forward(self, inputs: Inputs) -> PivotSignal:
        """The signals [B, T, ...] of a batch; they are 0 at masked positions."""
        mask, slots = inputs.mask, cast(Tensor, inputs.slots)
        hidden = hidden_states(self.model, **inputs.model_inputs())  # [R, L, H]
        texts = slots // mask.shape[1]
        rows = texts if inputs.rows is None else inputs.rows[texts]
        picked = hidden[rows, inputs.positions.flatten()[slots]]  # [N, H]
        head = output_layer(self.model)
        after = self.after_head
        out = topk_cross_entropy(
            picked,
            head.weight,
            inputs.labels.flatten()[slots],
            self.k,
            bias=head.bias,
            scale=after.scale,
            softcap=after.softcap,
            vocab_size=after.entries,
            impl=self.kernel,
            use=self.use,
            scratch=self.scratch,
        )

        def spread(flat: Tensor) -> Tensor:
            """[N, ...] at unmasked positions -> [B, T, ...] with 0 at masked positions."""
            full = flat.new_zeros(mask.numel(), *flat.shape[1:]).index_copy(0, slots, flat)
            return full.view(*mask.shape, *flat.shape[1:])

        return PivotSignal(
            values=spread(out.values),
            ids=spread(out.ids),
            lse=spread(out.lse),
            mean=spread(out.mean),
            std=spread(out.std),
            mask=mask,
            nll=spread(out.nll),
            labels=inputs.labels,
            hidden=spread(picked) if self.with_logits else None,
            head=OutputHead(head, after, autocast_factors(picked.device)) if self.with_logits else None,
        )


@dataclass(frozen=True)
class OutputHead:
    """The output embedding of a model, with what comes after it. See `signals.Head`."""

    embedding: nn.Linear
    after: AfterHead
    factors: torch.dtype | None
    """see `logits_at`"""

    @property
    def vocabulary(self) -> int:
        """The number of entries."""
        return self.after.entries

    def logits(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """The logits [N, m] of the hidden states [N, H] at the ids [N, m], with gradient."""
        head, after = self.embedding, self.after
        return logits_at(hidden, head.weight, head.bias, ids, after.scale, after.softcap, self.factors)
