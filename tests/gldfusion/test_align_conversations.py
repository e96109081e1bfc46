"""Conversations, packed rows, completion-only labels, and the coverage report."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from gldfusion import coverage
from gldfusion.align import Encoded, encode, pair
from gldfusion.coverage import coverage_report
from gldfusion.data import FusionData, read_examples
from gldfusion.errors import InputError
from gldfusion.fuse import fuse
from gldfusion.inputs import collate
from gldfusion.model import SignalModel, load_model, load_tokenizer
from gldfusion.recipe import Recipe
from gldfusion.sources import Example, LiveSource
from gldfusion.turns import turn_end

TURNS = (("What is 12 + 345?", "12 + 345 = 357."), ("And café?", "Ein Café 🙂"), ("Thanks", "a banana, two plums"))
NAMES = ("pivot", "llama", "qwen2")


def talk(tokenizer: object, length: int = 10_000, turns: tuple[tuple[str, str], ...] = TURNS) -> Encoded:
    return encode(tokenizer, *turns[-1], length, turns[:-1])


def bytes_of_replies(turns: tuple[tuple[str, str], ...]) -> list[tuple[int, int]]:
    """Where each reply stands: the first byte, and where its end token starts."""
    out, first = [], 0
    for _, reply in turns:
        out.append((first, first + len(reply.encode())))
        first += len(reply.encode()) + 1
    return out


@pytest.mark.parametrize("name", NAMES)
def test_replies_are_labelled_and_nothing_else(models: dict[str, Path], name: str) -> None:
    tokenizer = load_tokenizer(models[name])
    encoded = talk(tokenizer)
    assert encoded.replies is not None
    assert len(encoded.starts) == len(encoded.labelled) == len(encoded.predicting)
    end = turn_end(tokenizer).ids
    for (first, last), (_, reply) in zip(encoded.replies, TURNS, strict=True):
        assert tokenizer.decode(encoded.ids[first : last - len(end)]) == reply
        assert tuple(encoded.ids[last - len(end) : last]) == end
    assert encoded.replies[-1][1] == len(encoded.ids)
    assert encoded.predicting == [place - 1 for place in encoded.labelled]
    known = [start for start in encoded.starts if start >= 0]
    assert all(a < b for a, b in pairwise(known))


@pytest.mark.parametrize("name", ["pivot", "qwen2"])
def test_each_reply_follows_what_generation_would_see(models: dict[str, Path], name: str) -> None:
    tokenizer = load_tokenizer(models[name])
    encoded = talk(tokenizer)
    assert encoded.replies is not None
    messages = [{"role": r, "content": c} for turn in TURNS for r, c in zip(("user", "assistant"), turn, strict=True)]
    for number, (first, _) in enumerate(encoded.replies):
        seen = tokenizer.apply_chat_template(messages[: 2 * number + 1], add_generation_prompt=True, tokenize=False)
        assert tokenizer.decode(encoded.ids[:first]) == seen


def test_an_end_token_of_the_template_is_labelled(models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(models["pivot"])
    plain = talk(tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}<|assistant|>"
        "{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}"
    )
    ended = talk(tokenizer)
    for encoded, token in ((plain, "<|user|>"), (ended, "<|end|>")):  # the first template has no end but the next turn
        end = tokenizer.convert_tokens_to_ids(token)
        ends = [i for i in encoded.labelled if encoded.ids[i] == end]
        assert len(ends) == 3
        places = [start for i, start in zip(encoded.labelled, encoded.starts, strict=True) if i in ends]
        assert places == [end for _, end in bytes_of_replies(TURNS)]
    assert plain.starts == ended.starts
    assert len(pair(plain.starts, ended.starts)) == sum(start >= 0 for start in plain.starts)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_pairs_of_a_conversation_stay_within_a_reply(models: dict[str, Path], name: str) -> None:
    """Each model reads its own template, and byte for byte the same replies."""
    ours, theirs = talk(load_tokenizer(models["pivot"])), talk(load_tokenizer(models[name]))
    assert ours.replies is not None
    assert theirs.replies is not None
    pairs = pair(ours.starts, theirs.starts)
    turn_of = [
        [number for number, (first, last) in enumerate(e.replies or ()) for _ in range(first, last)]
        for e in (ours, theirs)
    ]
    assert all(turn_of[0][i] == turn_of[1][j] for i, j in pairs)
    assert {turn_of[0][i] for i, _ in pairs} == {0, 1, 2}


def test_one_turn_is_as_ever(models: dict[str, Path]) -> None:
    encoded = encode(load_tokenizer(models["pivot"]), *TURNS[0], 100)
    assert encoded.replies == ((encoded.n_prompt, len(encoded.ids)),)
    assert encoded.labelled == Encoded(encoded.ids, encoded.n_prompt, encoded.starts, False).labelled


@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_may_be_cut_anywhere(models: dict[str, Path], name: str) -> None:
    tokenizer = load_tokenizer(models[name])
    whole = talk(tokenizer)
    for length in range(1, len(whole.ids) + 1):
        cut = talk(tokenizer, length)
        assert cut.ids == whole.ids[:length]
        assert cut.labelled == [place for place in whole.labelled if place < length]
        assert cut.starts == whole.starts[: len(cut.labelled)]
        assert cut.truncated is (length < len(whole.ids))
        assert cut.n_prompt == min(whole.n_prompt, length)


def test_a_template_that_rewrites_earlier_turns_is_refused(models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(models["pivot"])
    tokenizer.chat_template = "{% for m in messages[-1:] %}<|user|>{{ m.content }}{% endfor %}<|assistant|>"
    with pytest.raises(
        InputError, match=r"rewrites earlier turns: .* before turn 4 does not contain turn 2 .*\ntrain on single turns"
    ):
        talk(tokenizer)


def conversation(folder: Path) -> Path:
    messages = [{"role": r, "content": c} for turn in TURNS for r, c in zip(("user", "assistant"), turn, strict=True)]
    lines = [{"id": "chat/0", "messages": messages}, {"prompt": "Say hello.", "response": "Hello, world!"}]
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_conversations_are_read_and_trained_on(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path
) -> None:
    chat, single = read_examples(conversation(tmp_path))
    assert (*chat.history, (chat.prompt, chat.response)) == TURNS
    assert single.history == ()
    assert chat.key != Example("x", chat.prompt, chat.response).key
    assert single.key == Example("y", "Say hello.", "Hello, world!").key
    tokenizer = load_tokenizer(models["pivot"])
    encoded = talk(tokenizer)
    model = load_model(models["pivot"])
    inputs = collate([encoded])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([encoded.ids])).logits[0]
        nll = SignalModel(model, 4)(inputs).nll[0]
    labels = torch.full((len(encoded.ids),), -100)
    labels[encoded.labelled] = torch.tensor(encoded.ids)[encoded.labelled]
    torch.testing.assert_close(nll.sum(), cross_entropy(logits[:-1], labels[1:], reduction="sum"))
    data = FusionData.of([chat, single], tokenizer, 128, [source := LiveSource("llama", models["llama"], 4, 128)])
    assert data.coverage(source) > 0.2
    fuse(make_recipe(data=tmp_path / "data.jsonl", steps=1, batch_size=2), tmp_path / "out")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "turns of user and assistant"),
        ([{"role": "user", "content": "x"}], "turns of user and assistant"),
        (
            [{"role": "system", "content": "x"}, {"role": "assistant", "content": "y"}],
            "got \\['system', 'assistant'\\]",
        ),
        ([{"role": "user", "content": 1}, {"role": "assistant", "content": "y"}], "must be strings"),
        ([{"role": "user"}, {"role": "assistant", "content": "y"}], "no 'content'"),
        ("x", '"messages" must be a list'),
    ],
)
def test_bad_conversations_are_named(tmp_path: Path, messages: object, reason: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"messages": messages}) + "\n")
    with pytest.raises(InputError, match=rf'line 1: .*{reason}.*\nexpected \{{"messages"'):
        read_examples(path)


def test_the_coverage_report(models: dict[str, Path], examples: list[Example]) -> None:
    texts = [Example(f"{'odd' if i % 2 else 'even'}/{i}", e.prompt, e.response) for i, e in enumerate(examples)]
    tokenizers = {name: load_tokenizer(models[name]) for name in ("pivot", "llama", "twin")}
    rows = {(row.pivot, row.source, row.family): row for row in coverage_report(texts, tokenizers)}
    assert len(rows) == 6 * 3
    data = FusionData.of(examples, tokenizers["pivot"], 4096, [])
    llama = LiveSource("llama", models["llama"], 4, 4096)
    whole = rows["pivot", "llama", "all"]
    assert whole.coverage == pytest.approx(data.coverage(llama))
    assert whole.labelled == sum(len(e.starts) for e in data.encoded)
    assert whole.texts == 10
    assert rows["pivot", "twin", "odd"].coverage == 1
    parts = [rows["pivot", "llama", name] for name in ("odd", "even")]
    assert sum(part.paired for part in parts) == whole.paired
    assert coverage_report(texts, tokenizers, max_length=20)[-1].truncated > 0
    assert {row.family for row in coverage_report(examples, tokenizers)} == {"all"}


def test_the_coverage_command(
    models: dict[str, Path], data_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(data_file), *(f"{name}={models[name]}" for name in ("pivot", "twin"))]
    assert coverage.main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["pivot", "source", "all"],
        ["pivot", "twin", "100.0%"],
        ["twin", "pivot", "100.0%"],
    ]
    assert coverage.main([*given, "--json"]) == 0
    assert [row["coverage"] for row in json.loads(capsys.readouterr().out)] == [1, 1]
    for bad, message in (("pivot", "expected NAME=FOLDER"), (f"x={tmp_path}", "tokenizer.json")):
        assert coverage.main([str(data_file), bad]) == 2
        assert message in capsys.readouterr().err
    assert coverage.main(given[:2]) == 2
    assert "at least two names" in capsys.readouterr().err
