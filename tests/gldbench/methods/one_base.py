"""Specs and changed weights for models that start from one base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gldbench.spec import Spec, load_spec

MINI = Path(__file__).parents[1] / "mini.yaml"
TEXTS = [f"What is {a} + {b}? The answer is {a + b}." for a in range(12) for b in range(12)]
TURNS = {"byte-bpe": ("<|user|>", "<|assistant|>"), "qwen-bpe": ("<|im_start|>", "<|im_end|>")}
TOKENIZERS = {"phi3": "byte-bpe", "llama": "byte-bpe", "gpt_neox": "byte-bpe", "qwen2": "qwen-bpe"}
A, B = "specialist-a", "specialist-b"
Family = Callable[[str], Path]


def spec_of(architecture: str = "llama", **method: object) -> Spec:
    """The small spec, with a base, two specialists of this architecture, and one method called "made"."""
    spec = load_spec(str(MINI))
    tokenizer = TOKENIZERS[architecture]
    shape = {"architecture": architecture, "tokenizer": tokenizer, "turn": TURNS[tokenizer], "vocabulary": 340}
    base = spec.world.pivot.model_copy(update=shape)
    expert = base.model_copy(update={"base": "pivot"})
    world = spec.world.model_copy(update={"pivot": base, "specialists": {A: expert, B: expert}})
    made = type(spec.methods["sft"]).model_validate(method)
    return spec.model_copy(update={"world": world, "methods": {"made": made}})


def change(checkpoint: Path, seed: int, scale: float = 0.02) -> None:
    """Adds noise to all weights of a checkpoint, as if it had been trained."""
    file = checkpoint / "model.safetensors"
    generator = torch.Generator().manual_seed(seed)
    weights = {k: v + scale * torch.randn(v.shape, generator=generator) for k, v in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    (checkpoint / "manifest.json").unlink(missing_ok=True)
