"""What the probe (`gldfusion.probe`) finds for each class of causal language models in transformers.

`model_classes.txt` holds one line for each model type of `MODEL_FOR_CAUSAL_LM_MAPPING`: the type, the class, and what
the probe finds for a tiny model with random weights. Command: `python -m tests.gldfusion.model_classes [TYPE ...]`
prints the lines; `--write` writes the file.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from gldfusion.errors import InputError
from gldfusion.model import SignalModel, quiet

FILE = Path(__file__).with_suffix(".txt")
TYPES = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
LARGEST = 20_000_000
"""largest number of parameters that is built"""
SMALL: dict[str, Any] = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "vocab_size": 96,
    "is_decoder": True,
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "embedding_size", "lru_width", "dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "decoder_ffn_dim", "encoder_ffn_dim", "dim_ff"), 48),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "decoder_layers", "encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    "num_key_value_heads": 2,
    "head_dim": 8,
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 128),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "n_group", "topk_group"), 1),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "state_size", "mamba_d_state"), 8),
}
"""sizes by the names that configurations use"""
HEADS: dict[str, Any] = {"num_key_value_heads": 4}
MAMBA: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1}
SPECIAL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots3_note"), HEADS),
    **dict.fromkeys(("dots3_note_text", "glm4_moe_lite", "glm_moe_dsa", "minicpm3", "youtu"), HEADS),
    **dict.fromkeys(("bamba", "granitemoehybrid"), MAMBA),
    **{model_type: {"rotary_dim": 4} for model_type in ("codegen", "gptj")},
    "dots1": {"n_shared_experts": 1},
    "falcon_h1": {"lm_head_multiplier": 0.25},
    "gemma3n_text": {"num_kv_shared_layers": 0, "vocab_size_per_layer_input": 96, "hidden_size_per_layer_input": 8},
    "gemma4": {"vocab_size_per_layer_input": 96, "num_kv_shared_layers": 0, "final_logit_softcapping": 6.0},
    "gemma4_text": {"vocab_size_per_layer_input": 96, "num_kv_shared_layers": 0, "final_logit_softcapping": 6.0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granite": {"logits_scaling": 3.0},
    "hyperclovax": {"logits_scaling": 3.0},
    "lfm2_moe": {"layer_types": ["full_attention", "conv"]},
    "longcat_flash": {"ffn_hidden_size": 48, "expert_ffn_hidden_size": 16, "num_layers": 1, **HEADS},
    "mamba2": {"num_heads": 8, "n_groups": 1},
    "reformer": {"axial_pos_embds_dim": (16, 16), "axial_pos_shape": (8, 16), "attn_layers": ["local", "lsh"]},
    "xlm": {"emb_dim": 32, "n_words": 96},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["mamba", "hybrid"], "layer_types": ["mamba", "hybrid"]},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "layer_types": ["mamba", "hybrid"]},
}
"""model type -> settings in addition to SMALL"""


def tiny(kind: type[PreTrainedConfig], settings: dict[str, Any]) -> PreTrainedConfig:
    """A small configuration. Configurations inside it are small too."""
    known = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    parts = {
        name: type(getattr(kind(), name, None)) if part is AutoConfig else part
        for name, part in kind.sub_configs.items()
    }
    inner = {name: tiny(part, settings) for name, part in parts.items() if issubclass(part, PreTrainedConfig)}
    return kind(**{name: value for name, value in settings.items() if name in known}, **inner)


def build(model_type: str) -> PreTrainedModel:
    """A tiny model with random weights."""
    config = tiny(CONFIG_MAPPING[model_type], SMALL | SPECIAL.get(model_type, {}))
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size} parameters: its sizes have other names")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


def finding(model_type: str) -> str:
    """The line of one model type."""
    start = f"{model_type}\t{MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]}\t"
    with quiet():
        try:
            model = build(model_type)
        except Exception as error:  # configurations and models raise errors of many classes
            return f"{start}not built: {_plain(f'{type(error).__name__}: {error}')}"
        try:
            after = SignalModel(model, 4).after_head
        except InputError as error:
            return f"{start}refused: {_plain(str(error).splitlines()[1])}"
    does = [f"scale {after.scale:.6g}"] * (after.scale != 1) + [f"cap {after.softcap}"] * (after.softcap is not None)
    return f"{start}right{f' ({does[0]})' if does else ''}"


def kind(line: str) -> str:
    """The first word of what a line says: "right", "refused" or "not built"."""
    return line.split("\t")[2].partition(":")[0].partition(" (")[0]


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:120].strip()


def main() -> None:
    """See the docstring of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", metavar="TYPE", help="model types. Default: all")
    parser.add_argument("--write", action="store_true", help=f"write the lines of all types to {FILE.name}")
    given = parser.parse_args()
    lines = []
    for model_type in TYPES if given.write else given.types or TYPES:
        lines.append(finding(model_type))
        print(lines[-1], flush=True)
    print(dict(Counter(kind(line) for line in lines)), file=sys.stderr)
    if given.write:
        FILE.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
