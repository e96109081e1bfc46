"""Vocabulary maps: what is exact, what is nearest, what stays without counterpart; edit distances against nltk."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.metrics.distance import edit_distance
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gldfusion import vocab
from gldfusion.edits import nearest
from gldfusion.errors import InputError
from gldfusion.vocab import VocabularyMap, vocabulary, vocabulary_map

CORPUS = ["the answer is 42, because 6 * 7 = 42", "def add(a, b):\n    return a + b", "schöne Grüße, 日本語 🙂"] * 3


@cache
def byte_level(size: int = 330, bos: bool = False) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|end|>", "<|turn|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    named = {"bos_token": "<|turn|>"} if bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", **named)


def from_tokens(tokens: list[str], **named: str) -> PreTrainedTokenizerFast:
    """▁ for a space and bytes for what is unknown, as Llama-2."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(list(named.values()))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def wordpiece(tokens: list[str]) -> PreTrainedTokenizerFast:
    known = {token: i for i, token in enumerate(["[UNK]", "[SEP]", *tokens])}
    tokenizer = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[UNK]", "[SEP]"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[SEP]", unk_token="[UNK]")


@settings(deadline=None, max_examples=60)
@given(
    words=st.lists(st.binary(max_size=7), max_size=4),
    known=st.lists(st.binary(max_size=7), min_size=1, max_size=12),
)
def test_the_nearest_by_edit_distance(words: list[bytes], known: list[bytes]) -> None:
    index, distance = nearest(words, known)
    for word, i, found in zip(words, index.tolist(), distance.tolist(), strict=True):
        each = [edit_distance(word, other) for other in known]
        assert found == min(each)
        assert i == each.index(found)  # the first of equals, whatever their lengths


def test_what_entries_stand_for() -> None:
    pivot = vocabulary(byte_level())
    ids = byte_level().get_vocab()
    assert pivot.bytes[ids["Ġanswer"]] == b" answer"
    assert pivot.bytes[ids["Ã"]] == b"\xc3"  # a single byte of a character
    assert set(pivot.special.values()) == {"eos_token", "<|turn|>"}
    source = vocabulary(from_tokens(["▁an", "<0xC3>", "ö", "</s>"], eos_token="</s>"))
    assert source.bytes == {0: b" an", 1: b"\xc3", 2: "ö".encode()}
    assert vocabulary(wordpiece(["an", "##swer"])).bytes == {2: b"an", 3: b"swer"}


def test_equal_bytes_are_exact_whatever_the_spelling(tmp_path: Path) -> None:
    source = from_tokens(["▁answer", "<0xC3>", "s", "▁zebra", "</s>", "<s>"], eos_token="</s>", bos_token="<s>")
    ids = byte_level().get_vocab()
    found = vocabulary_map(byte_level(), source, "exact", tmp_path)
    assert found.ids.tolist() == [ids["Ġanswer"], ids["Ã"], ids["s"], -1, ids["<|end|>"], -1]
    assert found.distances.tolist() == [0, 0, 0, -1, 0, -1]
    with_bos = vocabulary_map(byte_level(bos=True), source, "exact", tmp_path)
    assert with_bos.ids[5] == ids["<|turn|>"]


def test_the_alike_entry_comes_before_the_lowest_id(tmp_path: Path) -> None:
    twice = from_tokens(["<0x41>", "x", "A"])  # a byte entry of the same bytes has the lower id
    assert vocabulary_map(twice, from_tokens(["A", "<0x41>"]), "exact", tmp_path).ids.tolist() == [2, 0]
    assert vocabulary_map(twice, byte_level(), "exact", tmp_path).ids[byte_level().get_vocab()["A"]] == 2


def test_mined_takes_the_least_edit_distance_in_bytes(tmp_path: Path) -> None:
    pivot = from_tokens(["▁the", "▁answer", "return", "a", "b"])
    found = vocabulary_map(pivot, from_tokens(["▁answers", "turn", "c", "▁answer"]), "mined", tmp_path)
    assert found.ids.tolist() == [1, 2, 3, 1]  # c: one edit from both a and b, the lower id
    assert found.distances.tolist() == [1, 2, 1, 0]
    special = from_tokens(["▁then", "<s>"], bos_token="<s>")
    assert vocabulary_map(pivot, special, "mined", tmp_path).ids.tolist() == [0, -1]


def test_fusellm_maps_strings_in_lower_case(tmp_path: Path) -> None:
    pivot = from_tokens(["▁the", "Return", "<s>"])
    source = from_tokens(["RETURN", "<s>", "▁a"], bos_token="<s>")
    assert vocabulary_map(pivot, source, "fusellm", tmp_path).ids.tolist() == [1, 2, 0]
    ours, theirs = byte_level().get_vocab(), from_tokens(["▁answer"])
    assert vocabulary_map(byte_level(), theirs, "fusellm", tmp_path).ids.tolist() == [ours["Ġanswer"]]
    assert vocabulary_map(theirs, byte_level(), "fusellm", tmp_path).distances[ours["Ġanswer"]] == 0


@pytest.mark.parametrize("strategy", vocab.STRATEGIES)
def test_one_vocabulary_maps_onto_itself(strategy: vocab.Strategy, tmp_path: Path) -> None:
    found = vocabulary_map(byte_level(), byte_level(), strategy, tmp_path)
    assert found.ids.tolist() == list(range(len(byte_level())))
    assert not found.distances.any()


def test_a_map_is_kept_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLDFUSION_CACHE", str(tmp_path))
    pair = byte_level(), byte_level(310)
    found = vocabulary_map(*pair)
    monkeypatch.setitem(vocab.STRATEGIES, "mined", lambda *_: pytest.fail("made again"))
    again = vocabulary_map(*pair)
    np.testing.assert_array_equal(again.ids, found.ids)
    np.testing.assert_array_equal(again.distances, found.distances)
    kept = list((tmp_path / "vocabulary-maps").iterdir())
    assert len(kept) == 1
    kept[0].write_bytes(kept[0].read_bytes()[:50])
    with pytest.raises(InputError, match=r"cannot be read as a vocabulary map .*\ndelete it"):
        vocabulary_map(*pair)


def test_other_vocabularies_have_other_maps(tmp_path: Path) -> None:
    for size in (300, 310):
        vocabulary_map(byte_level(), byte_level(size), "exact", tmp_path)
    vocabulary_map(byte_level(), byte_level(300), "mined", tmp_path)
    vocabulary_map(byte_level(bos=True), byte_level(300), "exact", tmp_path)  # same tokens, another role
    assert len(list(tmp_path.iterdir())) == 4


def test_rows_beyond_the_tokenizer_have_no_counterpart() -> None:
    found = VocabularyMap(np.array([3, 1]), np.array([0, 0]))
    assert found.table(4).tolist() == [3, 1, -1, -1]


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'map must be one of exact, mined, fusellm.*did you mean "mined"'):
        vocabulary_map(byte_level(), byte_level(), "mind", tmp_path)  # pyright: ignore[reportArgumentType]

    class Slow:
        is_fast, name_or_path = False, "slow"

    with pytest.raises(InputError, match="expected a fast tokenizer: slow"):
        vocabulary_map(byte_level(), Slow(), "exact", tmp_path)
