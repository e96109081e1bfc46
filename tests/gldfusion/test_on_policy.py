"""Distillation on responses that the pivot writes itself: who reads what, what is sampled, and resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from gldfusion.chat import stop_tokens
from gldfusion.errors import InputError
from gldfusion.fuse import forward, fuse, gradient_shares
from gldfusion.on_policy import on_policy_step, sample, with_reply, works, write
from gldfusion.prepare import Fusion, check_batch_size, prepare
from gldfusion.recipe import OnPolicy, Recipe, SourceSpec, TermSpec, TrainSpec, validate
from gldfusion.sources import Example

RecipeMaker = Callable[..., Recipe]
ON = {"every": 2, "max_tokens": 6, "temperature": 1.0}


@pytest.fixture
def on_policy(
    make_recipe: RecipeMaker, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Any:
    """Six steps with gkd and minced on a source that has the pivot's tokenizer."""
    monkeypatch.setenv("GLDFUSION_CACHE", str(tmp_path / "maps"))

    def make(**changes: Any) -> Recipe:
        terms = (TermSpec(loss="gkd", weight=1), TermSpec(loss="minced", weight=0.5))
        settings: dict[str, Any] = {"on_policy": ON, "steps": 6, "save_every": 2, "lambda": 0}
        settings |= {"sources": (SourceSpec(name="twin", checkpoint=models["twin"]),), "terms": terms}
        return make_recipe(**settings | changes)

    return make


@pytest.fixture
def fusion(on_policy: Any, tmp_path: Path) -> Fusion:
    return prepare(on_policy(micro_batch_size=3), Accelerator(cpu=True), tmp_path / "out")


def test_sft_reads_the_data_and_the_terms_read_what_the_pivot_wrote(fusion: Fusion) -> None:
    written = write(fusion, 2)
    train, data = fusion.recipe.train, fusion.data
    chosen = [i for step in (2, 3) for i in data.step(step, train.batch_size, train.seed)]
    assert [e.prompt for e in written.data.examples] == [data.examples[i].prompt for i in chosen]
    assert all(e.response != data.examples[i].response for e, i in zip(written.data.examples, chosen, strict=True))
    work = on_policy_step(fusion, 3, written)
    roles = [batch.role for batch in work.batches]
    assert roles == ["labels"] * roles.count("labels") + ["sources"] * roles.count("sources")
    assert all(bool(batch.sources) is (batch.role == "sources") for batch in work.batches)
    counts = fusion.loss.counts(work.batches)
    found = sum(torch.stack(forward(fusion, fusion.model, batch, counts)) for batch in work.batches)
    whole = data.batch(work.chosen)
    spoken = written.data.batch(range(4, 8))  # the second of the two steps
    expected = forward(fusion, fusion.model, whole, fusion.loss.counts([whole]))[:1]
    expected += forward(fusion, fusion.model, spoken, fusion.loss.counts([spoken]))[1:]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-6)
    assert all(value > 0 for value in expected)
    shares = gradient_shares(fusion, work.batches, counts)
    assert set(shares) == set(fusion.loss.names)
    assert min(shares.values()) > 0.01
    assert sum(shares.values()) == pytest.approx(1)


def test_a_low_temperature_writes_the_likeliest_response(on_policy: Any, tmp_path: Path) -> None:
    """Each text by itself, token by token, without a cache of keys and values."""
    recipe = on_policy(on_policy=ON | {"temperature": 1e-4, "max_tokens": 5})
    fusion = prepare(recipe, Accelerator(cpu=True), tmp_path / "out")
    replies, tokens = sample(fusion, range(10), seed=3)
    model: Any = fusion.model
    expected, count = [], 0
    for encoded in fusion.data.encoded:
        ids = encoded.ids[: encoded.n_prompt]
        prompt = len(ids)
        for _ in range(5):
            with torch.no_grad():
                following = int(model.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if following in stop_tokens(fusion.tokenizer):
                break
            ids = [*ids, following]
        count += len(ids)
        expected.append(fusion.tokenizer.decode(ids[prompt:], skip_special_tokens=True))
    assert replies == expected
    assert tokens == count


def test_what_is_sampled_depends_on_the_step_and_the_weights_alone(fusion: Fusion) -> None:
    texts = [[e.response for e in write(fusion, step).data.examples] for step in (0, 0, 2)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    before = torch.random.get_rng_state()
    write(fusion, 0)
    assert torch.random.get_rng_state().equal(before)
    with torch.no_grad():
        next(iter(fusion.model.parameters())).mul_(1.5)
    assert [e.response for e in write(fusion, 0).data.examples] != texts[0]


def test_the_last_responses_are_for_the_remaining_steps(on_policy: Any, tmp_path: Path) -> None:
    fusion = prepare(on_policy(steps=3), Accelerator(cpu=True), tmp_path / "out")
    done = list(works(fusion, 0))
    assert len(done) == 3
    assert [work.sampling_tokens > 0 for work in done] == [True, False, True]
    assert len(write(fusion, 2).data.examples) == fusion.recipe.train.batch_size


def test_a_prompt_without_room_keeps_the_response_of_the_data(fusion: Fusion) -> None:
    fusion = replace(fusion, recipe=fusion.recipe.model_copy(update={"train": fusion.recipe.train.model_copy()}))
    longest = max(e.n_prompt for e in fusion.data.encoded)
    object.__setattr__(fusion.recipe.train, "max_length", longest)
    replies, _ = sample(fusion, range(10), seed=0)
    for encoded, reply in zip(fusion.data.encoded, replies, strict=True):
        assert (reply is None) == (encoded.n_prompt >= longest)


def test_the_last_reply_of_a_conversation_is_replaced() -> None:
    chat = {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "a"}], "tools": []}
    chat["messages"].append({"role": "assistant", "content": "b"})
    one = with_reply(Example("x", "a", "b", chat=json.dumps(chat)), "c")
    assert [m["content"] for m in one.messages] == ["Be short.", "a", "c"]
    two = with_reply(Example("x", "a", "b", history=(("p", "q"),)), "c")
    assert [m["content"] for m in two.messages] == ["p", "q", "a", "c"]


class StoppedError(Exception):
    """Stands for a killed process."""


def test_a_resumed_training_is_equal_bit_for_bit(on_policy: Any, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fuse(on_policy(), whole)

    def stop(done: int, steps: int) -> None:
        if done == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        fuse(on_policy(), broken, stop)
    fuse(on_policy(), broken)
    assert (whole / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()
    logs = [
        [json.loads(line) for line in (one / "training_log.jsonl").read_text().splitlines()] for one in (whole, broken)
    ]
    assert len(logs[0]) == 6
    assert [(e["loss"], e["terms"], e["sampling_tokens"]) for e in logs[0]] == [
        (e["loss"], e["terms"], e["sampling_tokens"]) for e in logs[1]
    ]
    totals = [json.loads((one / "training_totals.json").read_text()) for one in (whole, broken)]
    assert totals[0]["flops"] == totals[1]["flops"]
    off = tmp_path / "off"
    fuse(on_policy(on_policy=None), off)
    assert (whole / "model.safetensors").read_bytes() != (off / "model.safetensors").read_bytes()
    assert "sampling_tokens" not in json.loads((off / "training_log.jsonl").read_text().splitlines()[0])


def test_the_recipe_is_refused_where_it_cannot_work(on_policy: Any, models: dict[str, Path]) -> None:
    cached = (SourceSpec(name="twin", checkpoint=models["twin"], cache=Path("c")),)
    for changes, message in (
        ({"sources": cached}, "a cache cannot hold what the pivot will write: remove `cache` from source twin"),
        ({"save_every": 3}, r"train.save_every is 3, and must be a multiple of train.on_policy.every \(2\)"),
        ({"terms": (), "sources": ()}, "train.on_policy is for distillation terms"),
        ({"on_policy": {"every": 0, "max_tokens": 1}}, "on_policy.every"),
    ):
        with pytest.raises((InputError, ValueError), match=message):
            on_policy(**changes)
    train = TrainSpec(steps=1, batch_size=2, learning_rate=1, on_policy=OnPolicy(every=1, max_tokens=1))
    with pytest.raises(InputError, match="runs in one process, and 2 were started"):
        check_batch_size(train, 2)
    check_batch_size(train, 1)
    with pytest.raises(InputError, match=r'unknown key "train\.on_policy\.evry"'):
        validate(Recipe, on_policy().model_dump(by_alias=True) | {"train": {"on_policy": {"evry": 1}}}, "recipe.yaml")


def test_runs_without_it_are_found_by_the_same_text() -> None:
    plain = TrainSpec(steps=1, batch_size=2, learning_rate=1)
    assert "on_policy" not in plain.model_dump()
    assert (
        plain.model_copy(update={"on_policy": OnPolicy(every=1, max_tokens=1)}).model_dump()["on_policy"]["every"] == 1
    )
