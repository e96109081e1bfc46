"""Special tokens that are typed inside the data are read as the recipe says, and counted."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gldfusion.cache.build import build_cache
from gldfusion.errors import InputError
from gldfusion.fuse import fuse
from gldfusion.model import load_tokenizer
from gldfusion.recipe import Recipe, SourceSpec
from gldfusion.sources import Example, LiveSource, encode_example
from gldfusion.specials import MARK, special_token
from tests.gldfusion.conftest import KINDS

TYPED = {"qwen2": "<|im_end|>", "pivot": "<|user|>", "llama": "<s>"}


def example(word: str) -> Example:
    """A special token in every part of a conversation, the replies with characters of several bytes around it."""
    return Example("typed", f"What is {word}?", f"é{word}ä. {word}", ((f"Say {word}.", f"ö {word} ö"),))


@pytest.fixture(params=TYPED)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return KINDS[request.param][1]()


@pytest.fixture
def word(tokenizer: Any) -> str:
    return next(word for word in TYPED.values() if word in tokenizer.get_vocab())


def test_text_reads_them_letter_by_letter(tokenizer: Any, word: str) -> None:
    """The ids are those of the same text through a tokenizer that knows no special tokens in the replies."""
    one = example(word)
    number = tokenizer.convert_tokens_to_ids(word)
    parsed, read = (encode_example(tokenizer, one, 1000, special) for special in ("parse", "text"))
    template = encode_example(tokenizer, example("zz"), 1000).ids.count(number)
    assert parsed.ids.count(number) == template + 5
    assert read.ids.count(number) == template
    plain = tokenizer.backend_tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.encode_special_tokens = True
    assert read.replies is not None
    (first, last), (first_2, last_2) = read.replies
    for ids, reply in ((read.ids[first:last], one.history[0][1]), (read.ids[first_2:last_2], one.response)):
        assert ids[: len(plain.encode(reply, add_special_tokens=False).ids)] == (
            plain.encode(reply, add_special_tokens=False).ids
        )
    assert MARK not in tokenizer.decode(read.ids)


def test_the_bytes_of_labels_count_no_marks(tokenizer: Any, word: str) -> None:
    one = example(word)
    stream = "\0".join([one.history[0][1], one.response]).encode()
    read = encode_example(tokenizer, one, 1000, "text")
    known = [start for start in read.starts if start >= 0]
    assert known == sorted(set(known))
    assert known[-1] == len(stream)
    for start, place in zip(read.starts, read.labelled, strict=True):
        piece = tokenizer.decode([read.ids[place]]).strip()
        at_end = stream[start : start + 1] in (b"", b"\0")  # the label after a reply ends the turn
        if start >= 0 and piece.isascii() and piece and not at_end:
            assert stream[start:].lstrip().startswith(piece.encode())


def test_texts_without_them_are_read_as_before(tokenizer: Any, examples: list[Example]) -> None:
    for one in examples:
        assert special_token(tokenizer, one) is None
        encoded = encode_example(tokenizer, one, 1000)
        assert encode_example(tokenizer, one, 1000, "text") == encode_example(tokenizer, one, 1000, "refuse") == encoded


@pytest.fixture
def typed_data(tmp_path: Path) -> Path:
    path = tmp_path / "typed.jsonl"
    lines = [{"id": "plain", "prompt": "Say hello.", "response": "Hello, world!"}] * 3
    lines += [{"id": "typed", "prompt": "What is <|user|>?", "response": "A <|user|> is a role."}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_fusion_counts_them_or_refuses(
    make_recipe: Callable[..., Recipe], typed_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for mode, how in (("parse", "special tokens"), ("text", "text")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            out = fuse(make_recipe(data=typed_data, steps=1, special_tokens_in_text=mode), tmp_path / mode)
        assert "typed in 1 of 4 examples ('<|user|>' in example typed)" in caplog.text
        assert f"they are read as {how}:" in caplog.text
        totals = json.loads((out / "training_totals.json").read_text())
        assert totals["examples_with_special_tokens"] == 1
        saved = (out / "tokenizer.json").read_text()
        assert MARK not in saved
        assert "uf8fe" not in saved
    with pytest.raises(InputError, match=r"example typed: its text holds '<\|user\|>', a special token"):
        fuse(make_recipe(data=typed_data, special_tokens_in_text="refuse"), tmp_path / "refuse")


def test_a_source_reads_them_in_the_same_way(models: dict[str, Path]) -> None:
    one = example("<|im_end|>")
    read = {
        special: LiveSource("a", models["qwen2"], 4, 1000, special=special).starts([one])[0]
        for special in ("parse", "text")
    }
    assert len(read["text"]) > len(read["parse"])
    with pytest.raises(InputError, match=r"holds '<\|im_end\|>'"):
        LiveSource("a", models["qwen2"], 4, 1000, special="refuse").starts([one])


def test_a_cache_that_read_them_otherwise_is_refused(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], examples: list[Example], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    build_cache(models["llama"], cache, examples, 10, 128, special="text")
    sources = (SourceSpec(name="a", checkpoint=models["llama"], cache=cache),)
    with pytest.raises(InputError, match=r"was made with special_tokens_in_text: 'text', the recipe says parse"):
        fuse(make_recipe(sources=sources), tmp_path / "out")
    with pytest.raises(InputError, match="was made with another special_tokens_in_text"):
        build_cache(models["llama"], cache, examples, 10, 128)
    fuse(make_recipe(sources=sources, special_tokens_in_text="text", steps=1), tmp_path / "out")
    assert load_tokenizer(tmp_path / "out").backend_tokenizer.normalizer is None
