"""Tiny checkpoints whose answers are known: a model that is a table of next characters."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHARACTERS = "\n !#$(),-.:=?ABQ{}\\'0123456789abcdefghijklmnopqrstuvwxyz"
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
ChainMaker = Callable[..., Path]


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, nothing added."""
    vocabulary = {token: number for number, token in enumerate([PAD, END, UNKNOWN, *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN)


def chain_model(tokenizer: PreTrainedTokenizerFast, follows: Mapping[str, str], context: int) -> LlamaForCausalLM:
    """A Llama without attention or feed-forward effect: after character c it writes follows[c], else the end token."""
    size, tokens = 128, tokenizer.get_vocab()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=context,
        pad_token_id=tokens[PAD],
        eos_token_id=tokens[END],
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    for name in state:
        if "norm" in name:
            state[name] += 1
    for token, number in tokens.items():
        state["model.embed_tokens.weight"][number, number] = 1
        state["lm_head.weight"][tokens[follows.get(token, END)], number] = 1
    model.load_state_dict(state)
    return model


@pytest.fixture
def chain(tmp_path: Path) -> ChainMaker:
    """Makes a checkpoint that writes, after each character, the one in `follows`, and ends where there is none."""

    def make(follows: Mapping[str, str], context: int = 256, name: str = "chain", template: str | None = None) -> Path:
        tokenizer = character_tokenizer()
        tokenizer.chat_template = template
        path = tmp_path / name
        chain_model(tokenizer, follows, context).save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    return make


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The folder with real benchmark files: GLDBENCH_DATA, else beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "benchmarks"
    folder = Path(os.environ.get("GLDBENCH_DATA", beside))
    if not folder.is_dir():
        pytest.skip("benchmark data not found")
    return folder
