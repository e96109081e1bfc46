"""Tokenizers and models of the embedded world: lossless, different, and the same after loading."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from gldbench.spec import ModelSpec
from gldbench.worlds.families import FAMILIES
from gldbench.worlds.models import CONTEXT, initialise
from gldbench.worlds.tokenizers import KINDS, train_tokenizer
from gldfusion.align import encode
from gldfusion.errors import InputError
from gldfusion.model import load_tokenizer
from gldfusion.recipe import TrainSpec

STRANGE = ("", " ", "  two  spaces ", "tab\tline\r\nend", "naïve café", "漢字 と かな", "👩‍👩‍👧 family")
DECOMPOSED = "e\u0301 combining"


def texts(count: int = 60) -> list[str]:
    source = random.Random(0)
    made = [family.generate(source, 1) for family in FAMILIES.values() for _ in range(count)]
    return [part for instance in made for part in (instance.prompt, instance.response)]


def model_spec(architecture: str, tokenizer: str) -> ModelSpec:
    return ModelSpec(
        architecture=architecture,
        tokenizer=tokenizer,
        vocabulary=420,
        turn=("<u>", "<a>"),
        hidden=32,
        layers=1,
        heads=2,
        intermediate=48,
        set="source",
        examples=1,
        train=TrainSpec(steps=1, batch_size=1, learning_rate=1e-3),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizers_are_lossless(kind: str) -> None:
    tokenizer = train_tokenizer(kind, texts(), 420, ("<u>", "<a>"))
    assert len(tokenizer) <= 420
    strange = STRANGE if kind == "qwen-bpe" else (*STRANGE, DECOMPOSED)  # Qwen2's puts text into normal form C
    for text in (*texts(5), *strange):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_tokenizers_cut_differently_and_one_merges_digits() -> None:
    answer = "x 1234 => 1234"
    made = {kind: train_tokenizer(kind, [*texts(), *["1234 => 1234"] * 200], 420, ("<u>", "<a>")) for kind in KINDS}
    cuts = {kind: tuple(t.encode(answer, add_special_tokens=False)) for kind, t in made.items()}
    pieces = {kind: tuple(made[kind].convert_ids_to_tokens(list(ids))) for kind, ids in cuts.items()}
    assert len(set(pieces.values())) >= 3
    merged = [kind for kind, found in pieces.items() if any(sum(c.isdigit() for c in p) > 1 for p in found)]
    assert 1 <= len(merged) < len(KINDS)


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("llama", "fallback-bpe"), ("qwen2", "qwen-bpe"), ("gpt_neox", "gpt2-bpe"), ("phi3", "byte-bpe")],
)
def test_models_load_as_they_were_made(architecture: str, kind: str, tmp_path: Path) -> None:
    first = initialise(model_spec(architecture, kind), texts(), 3, tmp_path / "a")
    again = initialise(model_spec(architecture, kind), texts(), 3, tmp_path / "b")
    other = initialise(model_spec(architecture, kind), texts(), 4, tmp_path / "c")
    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]
    model = AutoModelForCausalLM.from_pretrained(first)
    assert model.config.max_position_embeddings == CONTEXT
    encoded = encode(load_tokenizer(first), "3+4=", "# 7", 64)
    assert model(torch.tensor([encoded.ids])).logits.isfinite().all()


def test_a_tokenizer_that_changes_when_loaded_is_refused(tmp_path: Path) -> None:
    """transformers loads every Qwen2 checkpoint with Qwen2's own splitting rules."""
    with pytest.raises(InputError, match="splits text differently after transformers loads it"):
        initialise(model_spec("qwen2", "fallback-bpe"), texts(), 0, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_unknown_architectures_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'no architecture is called "lama" \(did you mean "llama"\?\)'):
        initialise(model_spec("lama", "byte-bpe"), texts(5), 0, tmp_path / "a")
