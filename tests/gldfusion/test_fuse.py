"""The whole path from texts to a fused checkpoint, and the bugs that it must not have."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from gldfusion import fuse as loop
from gldfusion.cache import build_cache
from gldfusion.data import Batch
from gldfusion.errors import InputError
from gldfusion.files import hash_file
from gldfusion.fuse import Fusion, forward, fuse
from gldfusion.hashes import hash_checkpoint
from gldfusion.losses import make_loss
from gldfusion.model import SignalModel, load_tokenizer
from gldfusion.optim import learning_rate, make_optimizer
from gldfusion.prepare import open_source, prepare, source_identity
from gldfusion.recipe import Recipe, SourceSpec, TermSpec, TrainSpec
from gldfusion.sources import Example, LiveSource
from gldfusion.work import prepare_step

RecipeMaker = Callable[..., Recipe]
TERMS = (TermSpec(loss="uld", weight=1), TermSpec(loss="gld", weight=1))
WITH_KL = (*TERMS, TermSpec(loss="kl", weight=1))


@pytest.fixture
def opened(make_recipe: RecipeMaker, tmp_path: Path) -> Callable[..., Fusion]:
    """A fusion before its first step."""
    return lambda **changes: prepare(make_recipe(**changes), Accelerator(cpu=True), tmp_path / "out")


def terms_and_gradient(fusion: Fusion, batches: Sequence[Batch]) -> tuple[dict[str, float], Tensor]:
    """All terms of a step made of these micro-batches, and the gradient [parameters] of the terms on sources."""
    counts = fusion.loss.counts(batches)
    rows = [forward(fusion, fusion.model, batch, counts) for batch in batches]
    names, sums = fusion.loss.names, [torch.stack(values).sum() for values in zip(*rows, strict=True)]
    parameters = list(fusion.model.parameters())
    gradients = torch.autograd.grad(torch.stack(sums[1:]).sum(), parameters, materialize_grads=True, allow_unused=True)
    return dict(zip(names, (s.item() for s in sums), strict=True)), torch.cat([g.flatten() for g in gradients])


def identical(models: dict[str, Path]) -> dict[str, Any]:
    """The pivot as its own source.

    Texts are padded: in packed rows of another order the logits differ by rounding, and the gradient of uld is a sign.
    """
    return {"packing": False, "sources": (SourceSpec(name="self", checkpoint=models["pivot"]),), "terms": WITH_KL}


def test_an_identical_live_source_gives_no_loss_and_no_gradient(
    opened: Callable[..., Fusion], models: dict[str, Path]
) -> None:
    fusion = opened(**identical(models))
    terms, gradient = terms_and_gradient(fusion, [fusion.data.batch(range(10))])
    assert terms["sft"] > 1
    assert all(abs(terms[f"self/{name}"]) < 1e-6 for name in ("uld", "gld", "kl"))
    assert gradient.abs().max() < 1e-6
    other = opened(sources=(SourceSpec(name="self", checkpoint=models["twin"]),), terms=WITH_KL)
    terms, gradient = terms_and_gradient(other, [other.data.batch(range(10))])
    assert all(terms[f"self/{name}"] > 0.1 for name in ("uld", "gld", "kl"))
    assert gradient.abs().max() > 0.1


@pytest.mark.parametrize(
    ("plant", "seen_by"),
    [
        (lambda inputs: replace(inputs, positions=inputs.positions + 1), ("uld", "gld", "kl")),
        (lambda inputs: replace(inputs, mask=torch.ones_like(inputs.mask)), ("gld",)),
        (lambda inputs: replace(inputs, mask=inputs.mask.roll(1, 1)), ("gld",)),
    ],
    ids=["outputs not shifted", "padding counted", "mask not shifted"],
)
def test_what_an_identical_source_brings_to_light(
    opened: Callable[..., Fusion], models: dict[str, Path], plant: Callable[[Any], Any], seen_by: tuple[str, ...]
) -> None:
    fusion = opened(**identical(models))
    batch = fusion.data.batch(range(10))
    terms, gradient = terms_and_gradient(fusion, [replace(batch, inputs=plant(batch.inputs))])
    assert all(terms[f"self/{name}"] > 1e-3 for name in seen_by)
    assert gradient.abs().max() > 1e-3


def assert_batching_is_free(fusion: Fusion) -> None:
    """Terms and gradient of ten ragged texts do not depend on what they are padded with."""
    whole, gradient = terms_and_gradient(fusion, [fusion.data.batch(range(10))])
    for size in (1, 3):
        parts = [fusion.data.batch(range(i, min(i + size, 10))) for i in range(0, 10, size)]
        terms, split_gradient = terms_and_gradient(fusion, parts)
        assert terms == pytest.approx(whole, rel=1e-4)
        torch.testing.assert_close(split_gradient, gradient, atol=1e-4 * float(gradient.abs().max()), rtol=0)


def test_padding_changes_nothing(opened: Callable[..., Fusion]) -> None:
    assert_batching_is_free(opened(terms=TERMS))


def test_counted_padding_is_caught_through_the_whole_path(
    opened: Callable[..., Fusion], monkeypatch: pytest.MonkeyPatch
) -> None:
    fusion = opened(terms=TERMS)
    real = fusion.data.batch

    def with_padding(indices: Sequence[int]) -> Batch:
        batch = real(indices)
        return replace(batch, inputs=replace(batch.inputs, mask=torch.ones_like(batch.inputs.mask)))

    monkeypatch.setattr(fusion.data, "batch", with_padding)
    with pytest.raises(AssertionError):
        assert_batching_is_free(fusion)


def test_counts_are_what_the_texts_hold(opened: Callable[..., Fusion]) -> None:
    fusion = opened(terms=TERMS)
    batches = [fusion.data.batch(range(4)), fusion.data.batch(range(4, 10))]
    labelled = sum(len(e.starts) for e in fusion.data.encoded)
    pairs = [sum(int((b.sources[name][1][..., 0] >= 0).sum()) for b in batches) for name in ("llama", "qwen2")]
    assert fusion.loss.names == ("sft", "llama/uld", "qwen2/uld", "llama/gld", "qwen2/gld")
    assert fusion.loss.counts(batches).tolist() == [labelled, *pairs, 10, 10]


def test_the_total_loss_written_out(opened: Callable[..., Fusion]) -> None:
    """lambda .2, sources of weight .75 and .25, uld at .5 and gld at .25, as the recipe of conftest.py has them."""
    fusion = opened()
    batch = fusion.data.batch(range(10))
    pivot = fusion.model(batch.inputs)
    expected = {"sft": 0.8 * pivot.nll.sum() / pivot.mask.sum()}
    for loss, weight in (("uld", 0.5), ("gld", 0.25)):
        for source, share in (("llama", 0.75), ("qwen2", 0.25)):
            signal, pairs = batch.sources[source]
            units = (pairs[..., 0] >= 0).sum() if loss == "uld" else 10
            expected[f"{source}/{loss}"] = share * weight * make_loss(loss)(pivot, signal, pairs) / units
    terms, _ = terms_and_gradient(fusion, [batch])
    assert terms == pytest.approx({name: value.item() for name, value in expected.items()})


SGD = {"optimizer": "sgd", "learning_rate": 1e-2, "max_grad_norm": 1e9, "batch_size": 8, "schedule": "constant"}


def weights(checkpoint: Path) -> dict[str, Tensor]:
    return load_file(checkpoint / "model.safetensors")


def assert_accumulation_equals_one_batch(make_recipe: RecipeMaker, folder: Path) -> None:
    """Eight ragged texts a step: at once, or as micro-batches of 3, 3 and 2."""
    whole = weights(fuse(make_recipe(**SGD), folder / "whole"))
    split = weights(fuse(make_recipe(**SGD, micro_batch_size=3), folder / "split"))
    for name, tensor in whole.items():
        torch.testing.assert_close(split[name], tensor, atol=1e-6, rtol=0)


def test_gradient_accumulation_equals_one_batch(
    make_recipe: RecipeMaker, models: dict[str, Path], tmp_path: Path
) -> None:
    assert_accumulation_equals_one_batch(make_recipe, tmp_path)
    before, after = weights(models["pivot"]), weights(tmp_path / "whole")
    assert max(float((after[name] - before[name]).abs().max()) for name in before) > 1e-2


def test_means_per_micro_batch_are_caught(
    make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def own_counts(fusion: Fusion, model: SignalModel, batch: Batch, counts: Tensor) -> list[Tensor]:
        parts = -(-8 // (fusion.recipe.train.micro_batch_size or 8))
        return forward(fusion, model, batch, fusion.loss.counts([batch]) * parts)

    monkeypatch.setattr(loop, "forward", own_counts)
    with pytest.raises(AssertionError, match="not close"):
        assert_accumulation_equals_one_batch(make_recipe, tmp_path)


def training_log(checkpoint: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (checkpoint / "training_log.jsonl").read_text().splitlines()]


def test_the_output_folder(
    make_recipe: RecipeMaker,
    models: dict[str, Path],
    examples: list[Example],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    recipe = make_recipe(save_every=1, probe_every=2)
    output = fuse(recipe, tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    assert {p.name for p in output.iterdir()} == {
        *("model.safetensors", "config.json", "generation_config.json", "README.md", "fusion.json"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
        *("training_log.jsonl", "training_totals.json", "manifest.json"),
    }
    tokenizer, pivots = AutoTokenizer.from_pretrained(output), load_tokenizer(models["pivot"])
    assert tokenizer.chat_template == pivots.chat_template
    assert tokenizer.eos_token_id == pivots.eos_token_id
    assert all(tokenizer(e.response)["input_ids"] == pivots(e.response)["input_ids"] for e in examples)
    model: Any = AutoModelForCausalLM.from_pretrained(output)
    assert model.generation_config.eos_token_id == [pivots.eos_token_id, pivots.convert_tokens_to_ids("<|user|>")]
    turn = [{"role": "user", "content": "Say hello."}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert model.generate(**prompt, max_new_tokens=5, do_sample=False).shape[1] > prompt["input_ids"].shape[1]

    fusion = json.loads((output / "fusion.json").read_text())
    assert Recipe.model_validate(fusion["recipe"]) == recipe
    assert fusion["identity"]["pivot"] == hash_checkpoint(models["pivot"])
    assert fusion["sources"] == {name: hash_checkpoint(models[name]) for name in ("llama", "qwen2")}
    assert len(fusion["identity"]["data"]) == 64
    assert fusion["processes"] == 1
    assert [entry["processes"] for entry in training_log(output)] == [1, 1, 1]
    assert fusion["versions"]["torch"] == torch.__version__
    card = (output / "README.md").read_text()
    assert "0.8 sft + 0.5 uld + 0.25 gld" in card
    assert "the sources llama, qwen2" in card


def test_the_log_and_the_totals(make_recipe: RecipeMaker, examples: list[Example], tmp_path: Path) -> None:
    output = fuse(make_recipe(probe_every=2, max_length=30, warmup=0.5), tmp_path / "out")
    log, totals = training_log(output), json.loads((output / "training_totals.json").read_text())
    names = ["sft", "llama/uld", "qwen2/uld", "llama/gld", "qwen2/gld"]
    assert [entry["step"] for entry in log] == [1, 2, 3]
    for entry in log:
        assert list(entry["terms"]) == names
        assert entry["loss"] == pytest.approx(sum(entry["terms"].values()))
        assert all(value > 0 for value in entry["terms"].values())
    assert [list(entry["gradient_share"]) for entry in log] == [names, [], names]
    assert sum(log[0]["gradient_share"].values()) == pytest.approx(1)
    assert [entry["learning_rate"] for entry in log] == [0.005, 0.01, 0.01]
    assert totals["tokens"] == log[-1]["tokens"] > log[0]["tokens"] > 0
    assert totals["truncated_examples"] > totals["dropped_examples"] > 0
    assert 0.2 < totals["coverage/llama"] < 1
    assert totals["peak_memory_bytes"] is None or totals["peak_memory_bytes"] > 1e7


def test_equal_fusions_have_equal_weights(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    hashes = [
        hash_file(fuse(make_recipe(seed=seed), tmp_path / str(i)) / "model.safetensors")
        for i, seed in enumerate((0, 0, 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_sources_without_weight_are_not_even_opened(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    nowhere = SourceSpec(name="nowhere", checkpoint=tmp_path / "nowhere", weight=0)
    output = fuse(make_recipe(sources=(nowhere,)), tmp_path / "out")
    alone = fuse(make_recipe(sources=(), terms=()), tmp_path / "alone")
    assert hash_file(output / "model.safetensors") == hash_file(alone / "model.safetensors")


def test_precision_belongs_to_a_fusion_not_to_the_process(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    plain, half = (training_log(fuse(make_recipe(precision=p), tmp_path / p)) for p in ("no", "bf16"))
    assert half[0]["terms"] == pytest.approx(plain[0]["terms"], rel=0.05)
    assert half[0]["terms"] != plain[0]["terms"]


def cached(recipe: Recipe, folder: Path, examples: Sequence[Example], k: int = 10) -> Recipe:
    """The same recipe with stored logits."""
    for source in recipe.sources:
        build_cache(source.checkpoint, folder / source.name, examples, k, recipe.train.max_length)
    sources = tuple(s.model_copy(update={"cache": folder / s.name}) for s in recipe.sources)
    return recipe.model_copy(update={"sources": sources})


def test_live_and_cached_sources_agree(make_recipe: RecipeMaker, examples: list[Example], tmp_path: Path) -> None:
    """The stored logits are half-precision gaps; with k below the cache's too."""
    for k in (10, 4):
        live = make_recipe(k=k, learning_rate=1e-3)
        logs = [
            training_log(fuse(recipe, tmp_path / f"{name}-{k}"))
            for name, recipe in (("live", live), ("cached", cached(live, tmp_path / "cache", examples)))
        ]
        for ours, theirs in zip(*logs, strict=True):
            assert ours["terms"] == pytest.approx(theirs["terms"], rel=2e-3)
            assert ours["terms"] != theirs["terms"]


@pytest.mark.parametrize("control", ["shuffled", "permuted_ids"])
def test_controls(make_recipe: RecipeMaker, models: dict[str, Path], tmp_path: Path, control: str) -> None:
    """The control changes what kl sees; gradient accumulation changes nothing."""
    spec = SourceSpec(name="twin", checkpoint=models["twin"])
    logs = []
    for number, (kind, size) in enumerate((("none", 8), (control, 8), (control, 3))):
        source = spec.model_copy(update={"control": kind})
        recipe = make_recipe(**SGD, steps=1, sources=(source,), terms=WITH_KL, micro_batch_size=size)
        logs.append(training_log(fuse(recipe, tmp_path / str(number)))[0]["terms"])
    assert logs[1] == pytest.approx(logs[2], rel=1e-4)
    assert abs(logs[1]["twin/kl"] - logs[0]["twin/kl"]) > 0.01
    assert (logs[1]["twin/uld"] == pytest.approx(logs[0]["twin/uld"])) is (control == "permuted_ids")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 339}, r"k = 339 is above the vocabulary of .*pivot \(338 entries\)"),
        ({"terms": WITH_KL}, r"llama/kl compares logits entry by entry, but source llama has another vocabulary"),
        ({"min_coverage": 0.99}, r"source llama: \d+\.\d% .* expected at least 99.0%\nits tokenizer"),
        ({"evaluate_every": 1}, r"train.evaluate_every is set, but there is nothing to evaluate on\nname texts with"),
        ({"terms": (TermSpec(loss="ulf", weight=1),)}, r"unknown loss 'ulf' \(did you mean \"uld\"\?\)"),
        ({"terms": (TermSpec(loss="uld", weight=1, options={"k": 11}),)}, r"asks for k = 11 .* holds 10"),
        ({"kernel": "triton"}, "kernel: triton needs a CUDA device\nset kernel: auto"),
        ({"max_length": 2}, "no example has a labelled position"),
        ({"pivot": Path("/nowhere")}, "not a checkpoint: /nowhere is not a folder"),
        ({"data": Path("/nowhere")}, "training data not found: expected a file at /nowhere"),
        ({"sources": (SourceSpec(name="a", checkpoint=Path("/nowhere")),)}, "not a checkpoint: /nowhere"),
        ({"sources": (SourceSpec(name="a", checkpoint=Path("/x"), cache=Path("/nowhere")),)}, "no cache at /nowhere"),
    ],
)
def test_bad_input(make_recipe: RecipeMaker, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        fuse(make_recipe(**changes), tmp_path / "out")
    assert len(str(caught.value).splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_a_source_without_usable_positions(
    make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A source that cuts every text before its response."""
    monkeypatch.setattr(LiveSource, "starts", lambda self, examples: [[] for _ in examples])
    with pytest.raises(InputError, match=r"source llama: 0.0% of the pivot's labelled positions .* expected some\n"):
        fuse(make_recipe(), tmp_path / "out")


def test_a_cache_that_does_not_fit(
    make_recipe: RecipeMaker, models: dict[str, Path], examples: list[Example], tmp_path: Path
) -> None:
    recipe = cached(make_recipe(), tmp_path, examples[:9])
    with pytest.raises(InputError, match="has no logits for example text-9"):
        fuse(recipe, tmp_path / "out")
    swapped = tuple(s.model_copy(update={"checkpoint": models["twin"]}) for s in recipe.sources)
    with pytest.raises(InputError, match=r"was made by another checkpoint than .*twin\n"):
        fuse(recipe.model_copy(update={"sources": swapped}), tmp_path / "out")
    with pytest.raises(InputError, match="asks for k = 11, its cache holds k = 10"):
        fuse(recipe.model_copy(update={"k": 11}), tmp_path / "out")
    with pytest.raises(InputError, match="k: full needs a live source"):
        fuse(recipe.model_copy(update={"k": "full"}), tmp_path / "out")


def test_a_cache_of_other_settings_is_refused(
    make_recipe: RecipeMaker, examples: list[Example], tmp_path: Path
) -> None:
    """Texts that were cut at another length have other labelled positions, and another precision gives other logits."""
    recipe = cached(make_recipe(), tmp_path / "cache", examples)
    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_length": 96})})
    with pytest.raises(InputError, match=r"made with max_length 128, the recipe says max_length 96\nname another"):
        fuse(longer, tmp_path / "out")
    halves = tuple(s.model_copy(update={"dtype": "bfloat16"}) for s in recipe.sources)
    with pytest.raises(InputError, match=r"made with dtype float32, the recipe says dtype bfloat16\n"):
        fuse(recipe.model_copy(update={"sources": halves}), tmp_path / "out")


@pytest.mark.parametrize("control", ["none", "permuted_ids"])
def test_the_content_of_a_cache_is_part_of_the_identity(
    make_recipe: RecipeMaker, examples: list[Example], tmp_path: Path, control: str
) -> None:
    recipe = cached(make_recipe(), tmp_path / "cache", examples)
    needs = frozenset({"ids", "lse"})
    spec = recipe.sources[0].model_copy(update={"control": control})
    source = open_source(spec, recipe, examples, torch.device("cpu"), needs)
    before = source_identity(spec, source)
    inner: Any = getattr(source, "source", source)
    assert before["cache"] == inner.meta["content"]
    inner.meta["content"] = "another template"
    assert source_identity(spec, source) != before


def test_the_kernel_of_a_recipe_changes_rounding_only(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    logs = [training_log(fuse(make_recipe(kernel=kernel), tmp_path / kernel)) for kernel in ("auto", "chunked")]
    for auto, chunked in zip(*logs, strict=True):
        assert auto["terms"] == pytest.approx(chunked["terms"], rel=1e-4)


@pytest.mark.parametrize("steps", ["1", "4"])
def test_the_environment_does_not_scale_the_gradients(
    make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: str
) -> None:
    recipe = make_recipe(optimizer="sgd", steps=1, max_grad_norm=1e9)
    want = weights(fuse(recipe, tmp_path / "plain"))
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", steps)
    found = weights(fuse(recipe, tmp_path / "launched"))
    assert all(torch.equal(found[name], tensor) for name, tensor in want.items())


def test_another_precision_of_the_launcher_is_refused(
    make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(InputError, match=r"asks for precision bf16, the recipe for no\nlaunch without"):
        fuse(make_recipe(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert fuse(make_recipe(precision="bf16", steps=1), tmp_path / "same").is_dir()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # what the launcher sets by default
    assert fuse(make_recipe(precision="bf16", steps=1), tmp_path / "default").is_dir()


def test_whole_vocabularies(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    """Full ULD compares vocabularies of unequal size."""
    recipe = make_recipe(k="full", terms=(TermSpec(loss="uld", weight=1),))
    assert all(entry["terms"]["llama/uld"] > 0 for entry in training_log(fuse(recipe, tmp_path / "out")))


def test_learning_rates() -> None:
    def rates(**changes: Any) -> list[float]:
        train = TrainSpec(**{"steps": 10, "batch_size": 1, "learning_rate": 1.0, "warmup": 0.2} | changes)
        return [round(learning_rate(train, step, 10), 3) for step in range(10)]

    assert rates(schedule="constant") == [0.5, *[1.0] * 9]
    assert rates(schedule="linear") == [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert rates(schedule="linear", warmup=0)[:2] == [1.0, 1.0]
    assert rates()[6] == 0.5
    assert rates(warmup=1.0)[-1] == 1.0


def test_vectors_do_not_decay(opened: Callable[..., Fusion]) -> None:
    fusion = opened(weight_decay=0.1)
    for kind in ("adamw", "sgd"):
        settings = fusion.recipe.train.model_copy(update={"optimizer": kind})
        groups = make_optimizer(fusion.model, settings).param_groups
        assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
        assert {p.ndim for p in groups[0]["params"]} == {2}
        assert sum(len(g["params"]) for g in groups) == len(list(fusion.model.parameters()))


def test_micro_batches_cover_a_step(opened: Callable[..., Fusion]) -> None:
    for packing in (True, False):
        work = prepare_step(opened(batch_size=8, micro_batch_size=3, packing=packing), 0)
        assert sorted(len(batch.inputs.mask) for batch in work.batches) == [2, 3, 3]
        assert len(work.chosen) == 8
        (whole,) = prepare_step(opened(batch_size=8, packing=packing), 0).batches
        assert len(whole.inputs.mask) == 8
