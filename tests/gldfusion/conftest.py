"""A tiny world: three architectures, three tokenizers, ragged texts. Weights are random, logits well spread."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from gldfusion.files import atomic_dir
from gldfusion.model import quiet
from gldfusion.recipe import Recipe, SourceSpec, TermSpec, TrainSpec
from gldfusion.sources import Example

LINES = (
    ("What is 12 + 345?", "12 + 345 = 357. The answer is 357."),
    ("Say hello.", "Hello, world!"),
    ("Translate: café", "Ein schönes Café, 10 € für Zoë 🙂."),
    ("Write a function.", "def add(a, b):\n    total = a + b\n    return total\n"),
    ("Is it true that not (True and False)?", "not (True and False) = not False = True. So the answer is True."),
    ("Count: a banana, two plums and a chair. How many fruits?", "1 + 2 = 3 fruits, the chair is none. 3"),
    ("x", "y"),
    ("Close the brackets: ( [ {", "} ] )"),
    ("List the first primes.", "2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79"),
    ("Who has the ball?", "Ann gives it to Bob, and Bob gives it to Eve. Eve."),
)
TEXTS = [text for line in LINES for text in line]
END, PAD, BOS = "<|end|>", "<|pad|>", "<s>"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(size: int, digits_apart: bool, turn: tuple[str, str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a chat template, as Qwen2 and Phi-3 have it."""
    tokenizer = Tokenizer(BPE())
    digits = [pre_tokenizers.Digits(individual_digits=True)] if digits_apart else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=[END, PAD, *turn], show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)
    opening = f"{{% if m.role == 'user' %}}{turn[0]}{{% else %}}{turn[1]}{{% endif %}}"
    fast.chat_template = f"{{% for m in messages %}}{opening}{{{{ m.content }}}}{{% endfor %}}{turn[1]}"
    return fast


def byte_fallback(size: int) -> PreTrainedTokenizerFast:
    """BPE with byte fallback, a BOS token and no chat template, as the first Llamas have it."""
    tokenizer = Tokenizer(BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", BOS, END, *BYTES]
    ascii_texts = [text for text in TEXTS if text.isascii()]
    tokenizer.train_from_iterator(
        ascii_texts, trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=END, unk_token="<unk>")


PHI3 = (Phi3Config, lambda: byte_level(330, True, ("<|user|>", "<|assistant|>")))
KINDS: dict[str, tuple[type, Callable[[], PreTrainedTokenizerFast]]] = {
    "pivot": PHI3,
    "twin": PHI3,
    "llama": (LlamaConfig, lambda: byte_fallback(350)),
    "qwen2": (Qwen2Config, lambda: byte_level(370, False, ("<|im_start|>", "<|im_end|>"))),
}


def make_checkpoint(folder: Path, name: str, seed: int) -> Path:
    """A random model of `KINDS`; the pivot's embeddings are tied and padded beyond its tokenizer, the others' are not.

    The twin has the pivot's tokenizer and other weights.
    """
    make_config, make_tokenizer = KINDS[name]
    tokenizer = make_tokenizer()
    config = make_config(
        vocab_size=len(tokenizer) + 8 * (name == "pivot"),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=name == "pivot",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,  # Phi-3's default is beyond a small vocabulary
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(15)  # logits of standard deviation near 2, not 0.1
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    with atomic_dir(folder) as temporary, quiet():
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints by name (`KINDS`), made once for all tests: read only."""
    folder = tmp_path_factory.mktemp("models")
    return {name: make_checkpoint(folder / name, name, seed) for seed, name in enumerate(KINDS)}


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Ten texts of very different lengths."""
    return [Example(f"text-{i}", prompt, response) for i, (prompt, response) in enumerate(LINES)]


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    """The texts as training data."""
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    records = ({"id": e.id, "prompt": e.prompt, "response": e.response} for e in examples)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def make_recipe(models: dict[str, Path], data_file: Path) -> Callable[..., Recipe]:
    """Three steps with uld and gld on two sources of other tokenizers; keywords change the recipe and its `train`."""

    def make(**changes: Any) -> Recipe:
        train: dict[str, Any] = {"steps": 3, "batch_size": 4, "learning_rate": 1e-2, "warmup": 0, "max_length": 128}
        train |= {name: changes.pop(name) for name in list(changes) if name in TrainSpec.model_fields}
        if "epochs" in train:
            del train["steps"]
        settings: dict[str, Any] = {
            "name": "test",
            "pivot": models["pivot"],
            "data": data_file,
            "sources": (
                SourceSpec(name="llama", checkpoint=models["llama"], weight=0.75),
                SourceSpec(name="qwen2", checkpoint=models["qwen2"], weight=0.25),
            ),
            "terms": (TermSpec(loss="uld", weight=0.5), TermSpec(loss="gld", weight=0.25)),
            "lambda": 0.2,
            "min_coverage": 0,  # these tokenizers cut the texts at very different bytes
        }
        return Recipe.model_validate(settings | changes | {"train": train})

    return make


@pytest.fixture
def room() -> Iterator[Callable[[int | None], None]]:
    """room(n): the system lets no file grow beyond n bytes and fails in the middle of a write; room(None): as before.

    The errors are those of a full disk, except for their number (EFBIG, not ENOSPC).
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)
