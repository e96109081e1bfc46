"""Initialises small models of different architectures from a seed and saves them as ordinary checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    GPTNeoXConfig,
    LlamaConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from gldbench.spec import ModelSpec
from gldbench.worlds.tokenizers import train_tokenizer
from gldfusion.errors import InputError, require_known
from gldfusion.manifest import sealed_dir
from gldfusion.model import load_tokenizer

CONTEXT = 8192
"""longest context in positions: enough for real GSM8K and BBH prompts, and without cost, as the positions are rotary"""

INITIAL_STD = 0.06
"""standard deviation of the initial weights, near 1/sqrt(hidden) for these widths. The usual 0.02 is for wide models:
small ones learn much slower with it"""

ARCHITECTURES: dict[str, Callable[..., PreTrainedConfig]] = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "gpt_neox": GPTNeoXConfig,
    "phi3": Phi3Config,
}


def initialise(spec: ModelSpec, texts: Sequence[str], seed: int, folder: Path) -> Path:
    """Trains a tokenizer, draws weights, and saves both as a checkpoint.

    Args:
        spec: architecture and size.
        texts: the texts that the tokenizer is trained on.
        seed: the seed of the weights.
        folder: the checkpoint folder to write.

    Returns:
        `folder`.

    Raises:
        InputError: the architecture or the kind of tokenizer is unknown, or transformers changes the tokenizer when it
            loads the checkpoint.
    """
    require_known("architecture", spec.architecture, ARCHITECTURES)
    tokenizer = train_tokenizer(spec.tokenizer, texts, spec.vocabulary, spec.turn)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    shape: dict[str, object] = {"num_key_value_heads": spec.heads} if spec.architecture != "gpt_neox" else {}
    config = ARCHITECTURES[spec.architecture](
        vocab_size=len(tokenizer),
        hidden_size=spec.hidden,
        intermediate_size=spec.intermediate,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        max_position_embeddings=CONTEXT,
        rope_parameters=rope,
        tie_word_embeddings=True,
        initializer_range=INITIAL_STD,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **shape,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    with sealed_dir(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        _check_reload(tokenizer, temporary, texts[:200])
    return folder


def _check_reload(tokenizer: PreTrainedTokenizerFast, folder: Path, texts: Sequence[str]) -> None:
    """Checks that the saved tokenizer is unchanged when loaded: some model classes replace its splitting rules."""
    reloaded = load_tokenizer(folder)
    if len(reloaded) != len(tokenizer):
        raise InputError(
            f"transformers adds tokens when it loads the tokenizer of {folder.name}: it has {len(reloaded)} tokens, "
            f"expected {len(tokenizer)}\nuse the names of special tokens that this model class expects"
        )
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        if reloaded.encode(text, add_special_tokens=False) != ids or reloaded.decode(ids) != text:
            raise InputError(
                f"the tokenizer of {folder.name} splits text differently after transformers loads it (text {text!r})\n"
                "choose another kind of tokenizer for this architecture"
            )
