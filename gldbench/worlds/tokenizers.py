"""Four kinds of tokenizer. They differ as real ones do: byte-level or byte fallback, single digits or merged digits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gldfusion.errors import require_known

BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
END = "<|end|>"
PAD = "<|pad|>"

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""how Qwen2 splits text into words; transformers uses it for all Qwen2 checkpoints, whatever the tokenizer file says"""


def _byte_bpe(texts: Sequence[str], size: int, words: pre_tokenizers.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def byte_bpe(texts: Sequence[str], size: int) -> Tokenizer:
    """Byte-level BPE. A word is a run of letters, one digit or one sign, each with the space before it."""
    split = pre_tokenizers.Split(Regex(r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]|\s+"), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return _byte_bpe(texts, size, pre_tokenizers.Sequence([split, level]))


def gpt2_bpe(texts: Sequence[str], size: int) -> Tokenizer:
    """Byte-level BPE with the words of GPT-2, as in GPT-NeoX: several digits or signs can form one token."""
    return _byte_bpe(texts, size, pre_tokenizers.ByteLevel(add_prefix_space=False))


def qwen_bpe(texts: Sequence[str], size: int) -> Tokenizer:
    """Byte-level BPE with the words of Qwen2: single digits, and text in Unicode normal form C."""
    split = pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = _byte_bpe(texts, size, pre_tokenizers.Sequence([split, level]))
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _with_spaces_as_marks(tokenizer: Tokenizer) -> Tokenizer:
    """Adds the rules of SentencePiece: spaces become U+2581, bytes outside the vocabulary become <0xNN> tokens."""
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    words = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.Split(Regex(r"[^\w\s▁]"), "isolated")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def fallback_bpe(texts: Sequence[str], size: int) -> Tokenizer:
    """Character-level BPE with byte fallback, as in Llama 2."""
    tokenizer = _with_spaces_as_marks(Tokenizer(models.BPE()))
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size - len(BYTE_TOKENS), show_progress=False))
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary |= {token: len(vocabulary) + i for i, token in enumerate(BYTE_TOKENS)}
    state["model"] |= {"vocab": vocabulary, "byte_fallback": True}
    return Tokenizer.from_str(json.dumps(state))


KINDS: dict[str, Callable[[Sequence[str], int], Tokenizer]] = {
    "byte-bpe": byte_bpe,
    "qwen-bpe": qwen_bpe,
    "fallback-bpe": fallback_bpe,
    "gpt2-bpe": gpt2_bpe,
}
"""kinds by name: (texts, largest number of entries) -> a trained tokenizer"""


def train_tokenizer(kind: str, texts: Sequence[str], size: int, turn: tuple[str, str]) -> PreTrainedTokenizerFast:
    """Trains a tokenizer and gives it a chat template.

    Args:
        kind: key of `KINDS`.
        texts: training texts.
        size: largest number of entries, special tokens included.
        turn: the special tokens before and after a user's turn. An answer ends with the end token.

    Raises:
        InputError: the kind is unknown.
    """
    require_known("kind of tokenizer", kind, KINDS)
    specials = [*turn, END, PAD]
    tokenizer = KINDS[kind](texts, size - len(specials))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, unk_token=END, clean_up_tokenization_spaces=False
    )
    fast.add_special_tokens({"additional_special_tokens": list(turn)})
    fast.chat_template = (
        "{% for message in messages %}{% if message['role'] == 'user' %}"
        + turn[0]
        + "{{ message['content'] }}"
        + turn[1]
        + "{% else %}{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    return fast
