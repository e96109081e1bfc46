"""Examples and batches: order, padding, pairing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gldfusion.align import Encoded
from gldfusion.data import FusionData, batch_indices, read_examples
from gldfusion.errors import InputError
from gldfusion.inputs import collate
from gldfusion.model import SignalModel, load_model, load_tokenizer
from gldfusion.sources import Example, LiveSource
from gldfusion.texts import Texts, encode_texts


def written(folder: Path, *lines: str) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_examples(tmp_path: Path) -> None:
    texts = [{"id": 7, "prompt": "a", "response": "b\u2028c\r\n"}, {"prompt": "", "response": "", "wrong": True}]
    path = written(tmp_path, *(json.dumps(text, ensure_ascii=False) for text in texts))
    assert read_examples(path) == [Example("7", "a", "b\u2028c\r\n"), Example("1", "", "")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: Expecting"),
        ('{"prompt": "x"}', r"line 2: no 'response'"),
        ('["x"]', r"line 2: expected an object, got list"),
        ("3", r"line 2: "),
        ('{"prompt": "x", "response": 3}', r"line 2: prompt and response must be strings"),
        ('{"prompt": null, "response": "x"}', r"line 2: prompt and response must be strings"),
        ('{"prompt": "x", "response": "\\ud800"}', r"line 2: .*surrogates not allowed"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    good = '{"prompt": "x", "response": "y"}'
    with pytest.raises(InputError, match=message) as caught:
        read_examples(written(tmp_path, good, line, good))
    assert len(str(caught.value).splitlines()) == 2


def test_files_without_examples(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training data not found"):
        read_examples(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no examples"):
        read_examples(written(tmp_path))
    (tmp_path / "data.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_examples(tmp_path / "data.jsonl")


def test_a_text_is_named_by_its_content(models: dict[str, Path]) -> None:
    assert Example("1", "ab", "c").key == Example("2", "ab", "c").key
    assert len({Example("1", *texts).key for texts in (("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"))}) == 4
    texts = [Example("1", "a", "b"), Example("2", "c", "d")]
    tokenizer = load_tokenizer(models["pivot"])
    forwards, backwards = (Texts([encode_texts(tokenizer, e, 128, "parse")]) for e in (texts, texts[::-1]))
    assert forwards.hash != backwards.hash
    assert forwards.hash == hashlib.sha256(b"".join(e.key for e in texts)).hexdigest()


def test_every_epoch_is_a_permutation_whatever_the_batch_size() -> None:
    places = np.concatenate([batch_indices(10, 4, seed=3, step=step) for step in range(15)])
    for epoch in places.reshape(6, 10):
        assert sorted(epoch) == list(range(10))
    assert np.array_equal(places, np.concatenate([batch_indices(10, 15, seed=3, step=step) for step in range(4)]))
    assert not np.array_equal(places[:10], places[10:20])
    assert not np.array_equal(places[:4], batch_indices(10, 4, seed=4, step=0))


def test_loss_and_shift_agree_with_transformers(models: dict[str, Path], examples: list[Example]) -> None:
    """`labels` of transformers shift by themselves and leave -100 out; the mean there is over all labels."""
    data = FusionData.of(examples, load_tokenizer(models["pivot"]), 128, [])
    batch = data.batch(range(len(examples)))
    model = load_model(models["pivot"])
    labels = torch.full_like(batch.inputs.input_ids, -100)
    for row, encoded in enumerate(data.encoded):
        labels[row, encoded.n_prompt : len(encoded.ids)] = torch.tensor(encoded.ids[encoded.n_prompt :])
    mask = batch.inputs.attention_mask
    theirs = model(input_ids=batch.inputs.input_ids, attention_mask=mask, labels=labels).loss.item()
    signal = SignalModel(model, k=5)
    ours = signal(batch.inputs)
    assert ours.nll.sum().item() / ours.mask.sum().item() == pytest.approx(theirs, rel=1e-5)
    unshifted = signal(replace(batch.inputs, positions=batch.inputs.positions + 1))
    assert unshifted.nll.sum().item() / ours.mask.sum().item() != pytest.approx(theirs, rel=1e-2)


def test_collation() -> None:
    texts = [Encoded([5, 6, 7, 8], 2, [0, 1], False), Encoded([9], 1, [], True), Encoded([1, 2, 3], 1, [0, -1], False)]
    inputs = collate(texts)
    assert inputs.input_ids.tolist() == [[5, 6, 7, 8], [9, 0, 0, 0], [1, 2, 3, 0]]
    assert inputs.attention_mask.sum(1).tolist() == [4, 1, 3]
    assert inputs.positions.tolist() == [[1, 2], [0, 0], [0, 1]]
    assert inputs.labels.tolist() == [[7, 8], [0, 0], [2, 3]]
    assert inputs.mask.tolist() == [[True, True], [False, False], [True, True]]


def test_neighbours_in_a_step_are_of_like_length(models: dict[str, Path], examples: list[Example]) -> None:
    data = FusionData.of(examples, load_tokenizer(models["pivot"]), 128, [])
    chosen = data.step(1, 6, seed=0)
    lengths = [len(data.encoded[i].ids) for i in chosen]
    assert lengths == sorted(lengths, reverse=True)
    assert sorted(chosen) == sorted(batch_indices(len(examples), 6, 0, 1))


@pytest.mark.parametrize("name", ["llama", "qwen2", "twin"])
def test_pairs_start_at_the_same_byte(models: dict[str, Path], examples: list[Example], name: str) -> None:
    source = LiveSource(name, models[name], 4, 128)
    data = FusionData.of(examples, load_tokenizer(models["pivot"]), 128, [source])
    assert data.coverage(source) == 1 if name == "twin" else 0.2 < data.coverage(source) < 1
    signal, pairs = data.batch(range(len(examples))).sources[name]
    starts = source.starts(examples)
    for row, encoded in enumerate(data.encoded):
        real = [(i, j) for i, j in pairs[row].tolist() if i >= 0]
        assert [encoded.starts[i] for i, _ in real] == [starts[row][j] for _, j in real]
        assert len(real) >= 2  # the first label and the end at least
        assert int(signal.mask[row].sum()) == len(starts[row])


def test_one_tokenizer_pairs_inside_characters_too(models: dict[str, Path], examples: list[Example]) -> None:
    data = FusionData.of(examples, load_tokenizer(models["pivot"]), 128, [])
    assert any(-1 in e.starts for e in data.encoded)
    twin, other = (LiveSource(name, models[name], 4, 128) for name in ("twin", "qwen2"))
    for example, encoded in zip(examples, data.encoded, strict=True):
        same = data._pairs(encoded, twin.starts([example])[0], twin)
        assert same == [(i, i) for i in range(len(encoded.starts))]
        across = data._pairs(encoded, other.starts([example])[0], other)
        assert all(encoded.starts[i] >= 0 for i, _ in across)


@pytest.mark.parametrize("name", ["llama", "twin"])
def test_truncation_never_pairs_wrongly(models: dict[str, Path], examples: list[Example], name: str) -> None:
    tokenizer = load_tokenizer(models["pivot"])
    whole = FusionData.of(examples, tokenizer, 128, [])
    found = set()
    for ours, theirs in ((20, 128), (128, 20), (20, 20), (14, 9)):
        source = LiveSource(name, models[name], 4, theirs)
        data = FusionData.of(examples, tokenizer, ours, [source])
        assert 0 < data.coverage(source) < 1 or theirs >= ours
        _, pairs = data.batch(data.usable.tolist()).sources[name]
        for row, index in enumerate(data.usable.tolist()):
            starts = source.starts([examples[index]])[0]
            for i, j in pairs[row].tolist():
                if i >= 0:
                    assert whole.encoded[index].starts[i] == data.encoded[index].starts[i] == starts[j]
                    found.add((ours, theirs))
    assert len(found) == 4


def test_truncated_and_unusable_texts_are_counted(models: dict[str, Path], examples: list[Example]) -> None:
    tokenizer = load_tokenizer(models["pivot"])
    data = FusionData.of(examples, tokenizer, 20, [])
    assert data.truncated == sum(len(e.ids) > 20 for e in FusionData.of(examples, tokenizer, 128, []).encoded)
    assert 0 < len(data.usable) < len(examples)
    assert set(data.step(0, 50, 0)) <= set(data.usable.tolist())
    with pytest.raises(InputError, match="no example has a labelled position within max_length = 2"):
        FusionData.of(examples, tokenizer, 2, [])


def test_coverage_looks_at_a_sample_spread_over_the_data(models: dict[str, Path], examples: list[Example]) -> None:
    source = LiveSource("llama", models["llama"], 4, 128)
    seen: list[Example] = []

    def spy(asked: list[Example]) -> list[list[int]]:
        seen.extend(asked)
        return LiveSource.starts(source, asked)

    data = FusionData.of(examples, load_tokenizer(models["pivot"]), 128, [source])
    source.starts = spy  # pyright: ignore[reportAttributeAccessIssue]
    data.coverage(source, sample=3)
    assert seen == [examples[0], examples[4], examples[8]]


def test_an_example_without_prompt_tokens_is_named(models: dict[str, Path], bare: Callable[[Path], Path]) -> None:
    texts = [Example("first", "x", "y"), Example("second", "", "y")]
    with pytest.raises(InputError, match="example second: the prompt has no tokens"):
        FusionData.of(texts, load_tokenizer(bare(models["pivot"])), 128, [])
    source = LiveSource("s", bare(models["pivot"]), 4, 128)
    with pytest.raises(InputError, match="example second: the prompt has no tokens"):
        source.starts(texts)


@pytest.fixture
def bare(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a checkpoint without chat template."""

    def make(path: Path) -> Path:
        copy = tmp_path / "bare"
        copy.mkdir(exist_ok=True)
        for file in path.iterdir():
            if file.name != "chat_template.jinja":
                (copy / file.name).write_bytes(file.read_bytes())
        return copy

    return make


def test_a_line_that_is_nested_too_deeply_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n' + "[" * 100_000 + "]" * 100_000 + "\n")
    with pytest.raises(InputError, match=r"data\.jsonl, line 2: "):
        read_examples(path)
