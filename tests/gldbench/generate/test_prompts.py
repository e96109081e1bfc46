"""The ids of a prompt are the same in training, in both backends and in log-likelihoods, for all kinds of tokenizer."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from gldbench.generate.backend import Sampling
from gldbench.generate.checkpoint import Checkpoint, open_checkpoint
from gldbench.generate.generate import BACKENDS
from gldbench.generate.plan import case_of
from gldbench.generate.settings import settings_of
from gldbench.schema import Item
from gldbench.tasks import load_task
from gldfusion.align import encode
from gldfusion.chat import continuation_ids, prompt_ids, stop_tokens
from gldfusion.model import load_tokenizer
from gldfusion.turns import turn_end

STAND_IN = Path(__file__).with_name("stand_in")
TEXTS = [
    "What is 12 + 345? The answer is 357.",
    "def add(a, b):\n    return a + b\n",
    "Ein schöner Tag in Zürich, 10 € für Zoë.",
    "The ball goes to Bob, and Bob gives it to Eve.",
] * 3
SPECIAL = [
    *("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "[INST]", "[/INST]"),
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\n"
    "Today Date: {{ strftime_now('%d %b %Y') }}\n\n<|eot_id|>"
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
NO_OPENING = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
MARKERS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PLAIN_MARKERS = (
    "{% for m in messages %}{{ m.role }}> {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant> {% endif %}"
)


def byte_bpe(single: str = "") -> PreTrainedTokenizerFast:
    """As GPT-2; `single` says what the tokenizer puts around a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return wrapped(tokenizer, single)


def sentencepiece(single: str = "<s> $A") -> PreTrainedTokenizerFast:
    """As Llama-2: a space is put before every text, and spaces are written as ▁."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=430, special_tokens=tokens, show_progress=False)
    tokenizer.train_from_iterator([part for text in TEXTS for part in text.split()], trainer)
    return wrapped(tokenizer, single)


def wrapped(tokenizer: Tokenizer, single: str) -> PreTrainedTokenizerFast:
    if single:
        pairs = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=pairs)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def with_template(tokenizer: PreTrainedTokenizerFast, template: str) -> PreTrainedTokenizerFast:
    tokenizer.chat_template = template
    return tokenizer


KINDS: dict[str, tuple[Callable[[], PreTrainedTokenizerFast], str]] = {
    "byte BPE without BOS": (byte_bpe, "</s>"),
    "byte BPE with BOS": (lambda: byte_bpe("<s> $A"), "</s>"),
    "a tokenizer that adds EOS": (lambda: byte_bpe("<s> $A </s>"), "</s>"),
    "prefix space": (sentencepiece, "</s>"),
    "prefix space, adds EOS, ChatML": (lambda: with_template(sentencepiece("<s> $A </s>"), CHATML), "<|im_end|>"),
    "BOS under a template without it": (lambda: with_template(byte_bpe("<s> $A"), CHATML), "<|im_end|>"),
    "ChatML": (lambda: with_template(byte_bpe(), CHATML), "<|im_end|>"),
    "Llama 3, with a date": (lambda: with_template(byte_bpe("<s> $A"), LLAMA3), "<|eot_id|>"),
    "Gemma, BOS in the template": (lambda: with_template(sentencepiece(), GEMMA), "<end_of_turn>"),
    "Llama 2": (lambda: with_template(sentencepiece(), LLAMA2), "</s>"),
    "no generation prompt": (lambda: with_template(byte_bpe(), NO_OPENING), "<|im_end|>"),
    "role markers": (lambda: with_template(byte_bpe("<s> $A"), MARKERS), "<|user|>"),
    "role markers in plain text": (lambda: with_template(byte_bpe(), PLAIN_MARKERS), "\nuser> "),
}
PROMPTS = ["What is 12 + 345?", "The answer is", "Zoë, 10 €\n\n", " x", "def add(a, b):\n"]
REPLIES = ["357", " 42.", "\n    return a + b\n", "", "Zürich <3", "s and more"]


def save(tokenizer: PreTrainedTokenizerFast, folder: Path, writes: str = "") -> Path:
    """A checkpoint that repeats its last token, or writes the tokens of `writes` after any other token."""
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    for name in state:
        if "norm" in name:
            state[name] += 1
    script = tokenizer(writes, add_special_tokens=False)["input_ids"]
    follows = dict(pairwise(script))
    for number in range(len(tokenizer)):
        state["model.embed_tokens.weight"][number, number] = 1
        state["lm_head.weight"][follows.get(number, script[0] if script else number), number] = 1
    model.load_state_dict(state)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("kinds")
    return {name: save(make(), root / str(place)) for place, (name, (make, _)) in enumerate(KINDS.items())}


@pytest.fixture(scope="module")
def vllm() -> Iterator[Any]:
    """The stand-in for vLLM."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STAND_IN))
        importlib.import_module("gldbench.generate.vllm")
        yield importlib.import_module("vllm")
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm" or name.endswith("vllm_causallms")]:
        del sys.modules[name]


def trained(path: Path, prompt: str, reply: str = "x") -> list[int]:
    """The ids before the reply in training."""
    encoded = encode(load_tokenizer(path), prompt, reply, 10_000)
    return encoded.ids[: encoded.n_prompt]


class Spy:
    """Keeps what the model of the backend hf reads."""

    def __init__(self, backend: Any) -> None:
        self.read: list[list[int]] = []
        self.model = backend._lm.model
        self.real = self.model.generate
        self.model.generate = self

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **settings: Any) -> torch.Tensor:
        for row, mask in zip(input_ids, attention_mask, strict=True):
            self.read.append(row[mask.bool()].tolist())
        return self.real(input_ids=input_ids, attention_mask=attention_mask, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_generation_reads_the_ids_of_training(kind: str, checkpoints: dict[str, Path], vllm: Any) -> None:
    opened = open_checkpoint(checkpoints[kind])
    expected = sorted(trained(opened.path, prompt) for prompt in PROMPTS)
    backend = BACKENDS["hf"](opened, "cpu", 8)
    spy = Spy(backend)
    backend.complete(PROMPTS, 2, [])
    vllm.LLM.read.clear()
    other = BACKENDS["vllm"](opened, None, 8)
    other.complete(PROMPTS, 2, [])
    assert sorted(spy.read) == sorted(vllm.LLM.read) == expected
    assert [backend.count(prompt) for prompt in PROMPTS] == [len(trained(opened.path, p)) for p in PROMPTS]
    assert [other.count(prompt) for prompt in PROMPTS] == [backend.count(prompt) for prompt in PROMPTS]
    eos = load_tokenizer(opened.path).eos_token_id
    assert all(eos not in ids for ids in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_and_scored_has_the_same_ids(
    kind: str, checkpoints: dict[str, Path], vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log-likelihood task asks without chat template; training without one reads the same ids."""
    opened = open_checkpoint(checkpoints[kind])
    plain = load_tokenizer(opened.path)
    plain.chat_template = None
    pairs = [(prompt, reply) for prompt in PROMPTS for reply in REPLIES if reply]
    expected = sorted(encode(plain, prompt, reply, 10_000).ids[:-1] for prompt, reply in pairs)
    backend: Any = BACKENDS["hf"](opened, "cpu", 64)
    read: list[list[int]] = []
    real = backend._lm._loglikelihood_tokens

    def spy(requests: list[Any], **settings: Any) -> Any:
        read.extend([*before, *after] for _, before, after in requests)
        return real(requests, **settings)

    monkeypatch.setattr(backend._lm, "_loglikelihood_tokens", spy)
    found = backend.score(pairs)
    vllm.LLM.read.clear()
    other = BACKENDS["vllm"](opened, None, 64).score(pairs)
    assert sorted(read) == sorted(vllm.LLM.read) == expected
    assert [one.value for one in other] == pytest.approx([one.value for one in found], abs=1e-3)
    for prompt, reply in pairs:
        before, after = continuation_ids(plain, prompt, reply)
        assert before == prompt_ids(plain, prompt)
        assert plain.decode(after).strip() == reply.strip()


@pytest.mark.parametrize("kind", KINDS)
def test_the_label_after_every_reply_is_the_end_of_the_template(kind: str, checkpoints: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(checkpoints[kind])
    end = turn_end(tokenizer)
    assert end.text == KINDS[kind][1]
    turns = [("What is 12?", "12 is 12."), ("And 345?", "Zürich"), ("x", "")]
    encoded = encode(tokenizer, *turns[-1], 10_000, turns[:-1])
    assert encoded.replies is not None
    said = [tokenizer.decode(encoded.ids[first : last - len(end.ids)]) for first, last in encoded.replies]
    assert [text.strip() for text in said] == [reply for _, reply in turns]
    assert all(tuple(encoded.ids[last - len(end.ids) : last]) == end.ids for _, last in encoded.replies)
    assert len(encoded.starts) == len(encoded.labelled)
    if kind == "role markers in plain text":
        assert tokenizer.decode(end.ids) == end.text
        assert stop_tokens(tokenizer) == [tokenizer.eos_token_id]
    else:
        assert tokenizer.convert_ids_to_tokens(end.ids[-1]) == end.text
        assert stop_tokens(tokenizer) == sorted({tokenizer.eos_token_id, end.ids[-1]})


@pytest.mark.parametrize("kind", ["ChatML", "Llama 3, with a date", "Gemma, BOS in the template", "role markers"])
def test_the_ids_of_a_conversation_are_those_of_the_template(kind: str, checkpoints: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(checkpoints[kind])
    turns = [("What is 12?", "12"), ("And 345?", "Zürich")]
    messages = [{"role": r, "content": c} for turn in turns for r, c in zip(("user", "assistant"), turn, strict=True)]
    encoded = encode(tokenizer, *turns[-1], 10_000, turns[:-1])
    assert encoded.replies is not None
    template = str(tokenizer.chat_template).replace("strftime_now('%d %b %Y')", "'26 Jul 2024'")
    text = tokenizer.apply_chat_template(
        messages[:3], chat_template=template, add_generation_prompt=True, tokenize=False
    )
    # the decoder of a tokenizer that puts a space before a text writes this space after a special token
    assert tokenizer.decode(encoded.ids[: encoded.replies[1][0]]).replace(" ", "") == str(text).replace(" ", "")


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize("kind", ["ChatML", "role markers", "role markers in plain text", "byte BPE with BOS"])
def test_generation_stops_at_the_end_of_a_turn(kind: str, backend: str, vllm: Any, tmp_path: Path) -> None:
    make, end = KINDS[kind]
    path = save(make(), tmp_path / "talks", writes=f"ab{end.rstrip()}cd")
    (answer,) = BACKENDS[backend](open_checkpoint(path), "cpu", 8).complete(["The"], 30, [])
    assert answer.text == "ab"
    assert not answer.truncated
    assert answer.tokens <= 2 + len(turn_end(load_tokenizer(path)).ids)


def test_an_end_that_is_no_special_token_is_cut_off(vllm: Any, tmp_path: Path) -> None:
    """Some tokenizers do not mark <|im_end|> as special, so decoding keeps its text."""
    tokenizer = with_template(byte_bpe(), CHATML)
    path = save(tokenizer, tmp_path / "talks", writes="ab<|im_end|>cd")
    settings = json.loads((path / "tokenizer.json").read_text())
    for token in settings["added_tokens"]:
        token["special"] = token["content"] != "<|im_end|>"
    (path / "tokenizer.json").write_text(json.dumps(settings))
    for name in BACKENDS:
        (answer,) = BACKENDS[name](open_checkpoint(path), "cpu", 8).complete(["The"], 30, [])
        assert (answer.text, answer.truncated) == ("ab", False)


class Clock:
    """Stands in for `datetime` where transformers reads the clock."""

    def __init__(self, day: str) -> None:
        self.day = day

    def now(self) -> Clock:
        return self

    def strftime(self, form: str) -> str:
        return self.day


def test_the_clock_changes_nothing(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoints["Llama 3, with a date"]
    task, item = load_task("gsm8k"), Item("gsm8k", "default", "0", "How much?", "", "0")
    found, theirs = [], []
    for day in ("01 Jan 2020", "31 Dec 2031"):
        monkeypatch.setattr(chat_template_utils, "datetime", Clock(day))
        opened, tokenizer = open_checkpoint(path), load_tokenizer(path)
        backend = BACKENDS["hf"](opened, "cpu", 8)
        spy = Spy(backend)
        backend.complete(["How much?"], 2, [])
        found.append((trained(path, "How much?"), case_of(opened, task, item, "hf").case_id, spy.read))
        theirs.append(tokenizer.apply_chat_template([{"role": "user", "content": "How much?"}], tokenize=False))
    assert theirs[0] != theirs[1], "the clock of the test does not reach transformers"
    assert found[0] == found[1]
    assert "26 Jul 2024" in load_tokenizer(path).decode(found[0][0])
    assert settings_of(task, open_checkpoint(path), "hf").date == "2024-07-26"


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_answers_can_be_drawn_at_random(name: str, checkpoints: dict[str, Path], vllm: Any) -> None:
    opened: Checkpoint = open_checkpoint(checkpoints["ChatML"])
    backend = BACKENDS[name](opened, "cpu", 8)
    drawn = [backend.complete(PROMPTS, 6, [], Sampling(20.0, seed))[0].text for seed in (1, 1, 2)]
    greedy = [backend.complete(PROMPTS, 6, [])[0].text for _ in range(2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert greedy[0] == greedy[1] not in drawn
    item, task = Item("gsm8k", "default", "0", "x", "", "0"), load_task("gsm8k")
    cases = {case_of(opened, task, item, name, s).case_id for s in (None, Sampling(20.0, 1), Sampling(20.0, 2))}
    assert len(cases) == 3
