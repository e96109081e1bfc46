"""Small models of different architecture, freshly initialised from a seed and saved as ordinary checkpoints."""

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
from gldfusion.errors import InputError, did_you_mean
from gldfusion.files import atomic_dir
from gldfusion.model import load_tokenizer

CONTEXT = 8192
"""positions; free with rotary embeddings, and enough for real GSM8K and BBH prompts"""

INITIAL_STD = 0.06
"""near 1/sqrt(hidden) for these widths; the libraries' 0.02 is made for wide models and learns far slower here"""

ARCHITECTURES: dict[str, Callable[..., PreTrainedConfig]] = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "gpt_neox": GPTNeoXConfig,
    "phi3": Phi3Config,
}


def initialise(spec: ModelSpec, texts: Sequence[str], seed: int, folder: Path) -> Path:
    """Trains the tokenizer on `texts`, draws the weights from `seed`, and saves both as a checkpoint."""
    if spec.architecture not in ARCHITECTURES:
        raise InputError(
            f'unknown architecture "{spec.architecture}"{did_you_mean(spec.architecture, ARCHITECTURES)}\n'
            f"known: {', '.join(ARCHITECTURES)}"
        )
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
    with atomic_dir(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        _check_reload(tokenizer, temporary, texts[:200])
    return folder


def _check_reload(tokenizer: PreTrainedTokenizerFast, folder: Path, texts: Sequence[str]) -> None:
    """Some model classes give every checkpoint their own splitting rules when the tokenizer is loaded again."""
    reloaded = load_tokenizer(folder)
    if len(reloaded) != len(tokenizer):
        raise InputError(
            f"transformers adds tokens when it loads this tokenizer for {folder.name}: "
            f"{len(reloaded)} instead of {len(tokenizer)}\nname its special tokens as that class does"
        )
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        if reloaded.encode(text, add_special_tokens=False) != ids or reloaded.decode(ids) != text:
            raise InputError(
                f"this tokenizer changes when transformers loads it for a {folder.name} checkpoint (text {text!r})\n"
                "choose another tokenizer kind for this architecture"
            )
