"""A random two-layer checkpoint that stands in for the models of a table, so that the whole path runs offline."""

from __future__ import annotations

from pathlib import Path

from gldfusion.files import atomic_dir

TINY = "tiny"
ANSWER_TOKENS = 48
"""token limit of the answers of a substitute, because what it writes means nothing"""
_CONTEXT = 2048
_HIDDEN = 32


def tiny_checkpoint(folder: Path) -> Path:
    """Makes the checkpoint in `folder` unless it is there. Its weights are always the same.

    Its tokens are bytes. It has a chat template, as the models of a table have.
    """
    if folder.is_dir():
        return folder
    import torch  # here, because most commands need no torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from gldfusion.model import quiet

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<end>", "<user>", "<answer>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<end>",
        pad_token="<end>",
        additional_special_tokens=["<user>", "<answer>"],
        chat_template="{% for m in messages %}<user>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<answer>{% endif %}",
    )
    config = LlamaConfig(
        vocab_size=len(wrapped),
        hidden_size=_HIDDEN,
        intermediate_size=2 * _HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=_CONTEXT,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    with atomic_dir(folder) as place, quiet():
        model.save_pretrained(place)
        wrapped.save_pretrained(place)
    return folder
