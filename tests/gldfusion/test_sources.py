"""Live sources."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from gldfusion import chat, sources
from gldfusion.align import Encoded
from gldfusion.data import stack_signals
from gldfusion.errors import InputError
from gldfusion.model import load_model, load_tokenizer
from gldfusion.sources import DTYPES, LOGIT_FIELDS, Example, LiveSource, SequenceSignal


def expected_logits(checkpoint: Path, example: Example) -> np.ndarray:
    """[T, V] straight from transformers: the source's own template, then what predicts each token after the prompt."""
    tokenizer, model = load_tokenizer(checkpoint), load_model(checkpoint)
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": example.prompt}]
        prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
    else:
        prompt = tokenizer(example.prompt)["input_ids"]
    assert isinstance(prompt, list)
    response = tokenizer(example.response, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[*prompt, *response, tokenizer.eos_token_id]])
    with torch.no_grad():
        return model(input_ids=ids).logits[0, len(prompt) - 1 : -1].numpy()


@pytest.mark.parametrize("name", ["llama", "qwen2", "twin"])
def test_signals_are_the_logits_that_predict_the_response(
    models: dict[str, Path], examples: list[Example], name: str
) -> None:
    source = LiveSource(name, models[name], 7, 128, batch_size=3)
    for example, signal in zip(examples, source.read(examples), strict=True):
        logits = expected_logits(models[name], example)
        order = np.argsort(-logits, axis=1)[:, :7]
        assert signal.values.shape == (len(logits), 7) == signal.ids.shape
        np.testing.assert_array_equal(signal.ids, order)
        np.testing.assert_allclose(signal.values, np.take_along_axis(logits, order, 1), atol=1e-4)
        np.testing.assert_allclose(signal.lse, np.log(np.exp(logits).sum(1)), atol=1e-4)
        np.testing.assert_allclose(signal.mean, logits.mean(1), atol=1e-4)
        np.testing.assert_allclose(signal.std, logits.std(1), atol=1e-4)
        assert len(signal.starts) == len(logits)


def test_the_pivots_template_on_a_source_is_caught(
    models: dict[str, Path], examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    pivot = load_tokenizer(models["pivot"])
    own = chat.opening_ids

    def pivots(tokenizer: object, messages: list[dict[str, str]], tools: list[object]) -> list[int]:
        text = pivot.decode(own(pivot, messages, tools))
        assert isinstance(text, str)
        return load_tokenizer(models["qwen2"])(text)["input_ids"]  # pyright: ignore[reportReturnType]

    monkeypatch.setattr(chat, "opening_ids", pivots)
    with pytest.raises(AssertionError):
        test_signals_are_the_logits_that_predict_the_response(models, examples, "qwen2")


def test_a_whole_vocabulary_may_be_kept(models: dict[str, Path], examples: list[Example]) -> None:
    source = LiveSource("twin", models["twin"], None, 128)
    signal = source.read(examples[:1])[0]
    assert signal.values.shape[1] == source.vocabulary == load_model(models["twin"]).config.vocab_size
    assert (np.diff(signal.values) <= 0).all()
    assert [sorted(row) for row in signal.ids.tolist()] == [list(range(source.vocabulary))] * len(signal.ids)


def test_the_batch_does_not_matter(models: dict[str, Path], examples: list[Example]) -> None:
    source = LiveSource("llama", models["llama"], 5, 128)
    for together, example in zip(source.read(examples), examples, strict=True):
        alone = source.read([example])[0]
        np.testing.assert_allclose(together.values, alone.values, atol=1e-5)
        np.testing.assert_array_equal(together.starts, alone.starts)


def test_long_texts_are_read_in_smaller_batches(
    models: dict[str, Path], examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = LiveSource("llama", models["llama"], 5, 128)
    expected, forward, places = source.read(examples), source._forward, []
    longest = max(len(source._encode(e).ids) for e in examples)

    def counted(encoded: list[Encoded]) -> list[SequenceSignal]:
        places.append(len(encoded) * max(len(e.ids) for e in encoded))
        return forward(encoded)

    for limit in (1, 2 * longest, 3 * longest):
        places.clear()
        monkeypatch.setattr(source, "_forward", counted)
        monkeypatch.setattr(sources, "TOKENS_AT_ONCE", limit)
        for found, wanted in zip(source.read(examples), expected, strict=True):
            np.testing.assert_allclose(found.values, wanted.values, atol=1e-5)
        assert max(places) <= max(limit, longest), "a text that is longer than the limit is read alone"
        assert len(places) == len(examples) if limit == 1 else len(places) < len(examples)


def test_texts_cut_before_their_response_have_no_positions(models: dict[str, Path], examples: list[Example]) -> None:
    source = LiveSource("qwen2", models["qwen2"], 5, max_length=12)
    signals = source.read(examples)
    lengths = [len(s.values) for s in signals]
    assert min(lengths) == 0 < max(lengths)
    assert lengths == [len(starts) for starts in source.starts(examples)]
    cut = [e for e, n in zip(examples, lengths, strict=True) if n == 0]
    assert all(s.values.shape == s.ids.shape == (0, 5) for s in source.read(cut))


def test_k_above_the_vocabulary(models: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"k = 400 is above the vocabulary of .*llama \(350 entries\)\nset k"):
        LiveSource("llama", models["llama"], 400, 128)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("folder", "is not a folder"),
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no model.safetensors"),
        ("truncated", "the weights in .* cannot be loaded"),
        ("nonsense", "the model in .* cannot be loaded"),
        ("lacking", r"lack model.embed_tokens.weight \(1 in all\)"),
        ("tokenizer.json", "the tokenizer in .* cannot be loaded|not a fast one|end-of-sequence"),
    ],
)
def test_not_a_checkpoint(models: dict[str, Path], tmp_path: Path, broken: str, message: str) -> None:
    copy = tmp_path / "copy"
    if broken != "folder":
        copy.mkdir()
        for file in models["llama"].iterdir():
            if file.name != broken:
                (copy / file.name).write_bytes(file.read_bytes())
    weights = copy / "model.safetensors"
    if broken == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    if broken == "nonsense":
        (copy / "config.json").write_text('{"model_type": "nonsense"}')
    if broken == "lacking":
        weights.write_bytes(weights.read_bytes().replace(b"model.embed_tokens.weight", b"model.embed_tokens.weighs", 1))
    with pytest.raises(InputError, match=message) as caught:
        LiveSource("s", copy, 4, 128)
    assert len(str(caught.value).splitlines()) <= 3


def test_weights_keep_their_stored_type(models: dict[str, Path], tmp_path: Path) -> None:
    load_model(models["llama"], torch.bfloat16).save_pretrained(tmp_path)
    assert load_model(tmp_path, "auto").dtype == torch.bfloat16
    assert load_model(tmp_path).dtype == torch.float32


@pytest.mark.parametrize("name", ["llama", "pivot"])
def test_weights_that_go_straight_to_a_device_are_the_same(models: dict[str, Path], name: str) -> None:
    usual, straight = (load_model(models[name], device=device).state_dict() for device in (None, torch.device("cpu")))
    assert usual.keys() == straight.keys()
    assert all(torch.equal(straight[weight], tensor) for weight, tensor in usual.items())


@pytest.mark.parametrize("name", ["llama", "pivot"])
def test_an_offloaded_source_says_the_same(models: dict[str, Path], examples: list[Example], name: str) -> None:
    """Its layers hold no weights between calls; the pivot's embeddings are tied to its output layer."""
    whole, offloaded = (LiveSource(name, models[name], 5, 128, offload=offload) for offload in (False, True))
    layers = cast(torch.nn.Module, offloaded.model.model.base_model)
    for _ in range(2):
        for a, b in zip(whole.read(examples), offloaded.read(examples), strict=True):
            assert all(np.array_equal(getattr(a, field), getattr(b, field)) for field in LOGIT_FIELDS)
        assert {p.device.type for p in layers.parameters()} == {"meta"}


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.3), ("float16", 0.03)])
def test_a_source_may_run_in_another_precision(
    models: dict[str, Path], examples: list[Example], dtype: str, tolerance: float
) -> None:
    whole, half = (LiveSource("llama", models["llama"], 5, 128, dtype=d) for d in ("float32", dtype))
    assert next(half.model.parameters()).dtype == DTYPES[dtype]
    for a, b in zip(whole.read(examples), half.read(examples), strict=True):
        for field in ("values", "lse", "mean", "std"):
            mine, theirs = getattr(b, field), getattr(a, field)
            assert mine.dtype == np.float32
            np.testing.assert_allclose(mine, theirs, atol=tolerance)
        assert not np.array_equal(a.values, b.values)


def test_a_device_that_is_not_there(models: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"source s: cannot run on the device cuda:99: .*\nname another one"):
        LiveSource("s", models["llama"], 4, 128, "cuda:99")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("offload", [False, True])
def test_a_source_on_another_device_than_the_pivot(
    models: dict[str, Path], examples: list[Example], offload: bool
) -> None:
    here, there = (
        LiveSource("s", models["llama"], 5, 128),
        LiveSource("s", models["llama"], 5, 128, "cuda", offload=offload),
    )
    for a, b in zip(here.read(examples), there.read(examples), strict=True):
        np.testing.assert_allclose(b.values, a.values, atol=2e-3)


def test_signals_that_stay_on_the_device_are_the_same(models: dict[str, Path], examples: list[Example]) -> None:
    """A text whose response was cut off has an empty signal in both forms."""
    arrays, tensors = (LiveSource("llama", models["llama"], 5, 30, stay=stay).read(examples) for stay in (False, True))
    assert any(len(signal.values) == 0 for signal in arrays)
    for name in LOGIT_FIELDS:
        assert all(isinstance(getattr(signal, name), torch.Tensor) for signal in tensors)
        assert torch.equal(getattr(stack_signals(arrays), name), getattr(stack_signals(tensors), name))
    assert torch.equal(stack_signals(arrays).mask, stack_signals(tensors).mask)
