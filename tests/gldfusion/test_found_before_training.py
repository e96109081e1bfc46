"""What would stop a training after hours, or spoil it in silence, is found before its first step."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, GPT2Config, OPTConfig, PreTrainedConfig

from gldfusion.cache.build import build_cache
from gldfusion.errors import InputError
from gldfusion.fuse import forward, fuse
from gldfusion.losses import make_loss
from gldfusion.manifest import write_manifest
from gldfusion.model import load_model, load_tokenizer, quiet, vocabulary_size
from gldfusion.positions import can_read, require_positions
from gldfusion.prepare import prepare
from gldfusion.recipe import Recipe, SourceSpec, TermSpec
from gldfusion.sources import Example, LiveSource, SequenceSignal, require_finite
from gldfusion.state import load_state
from gldfusion.yaml_reader import parse_yaml

LEARNED: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=24, bos_token_id=0, eos_token_id=0),
    "opt": OPTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=16, max_position_embeddings=24,
        word_embed_proj_dim=16,
    ),
}  # fmt: skip


def with_model(like: Path, folder: Path, config: PreTrainedConfig) -> Path:
    """A checkpoint with the tokenizer of another one and a new model with random weights."""
    shutil.copytree(like, folder)
    config.vocab_size = len(load_tokenizer(like))
    with quiet():
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(params=LEARNED)
def short(request: pytest.FixtureRequest, models: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint with 24 learned positions."""
    return with_model(models["qwen2"], tmp_path / request.param, LEARNED[request.param])


def test_a_pivot_is_not_given_more_tokens_than_it_has_positions(
    make_recipe: Callable[..., Recipe], short: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"reads at most 24 tokens, but the longest text of the data has \d+\n"):
        fuse(make_recipe(pivot=short), tmp_path / "out")
    fuse(make_recipe(pivot=short, max_length=24, steps=1), tmp_path / "out")


def test_a_source_is_cut_at_its_positions_and_a_warning_says_so(
    short: Path, examples: list[Example], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = LiveSource("short", short, 4, 1000)
    assert "source short reads at most 24 tokens of a text, max_length is 1000" in caplog.text
    assert max(len(starts) for starts in source.starts(examples)) <= 24
    assert sum(len(signal.values) for signal in source.read(examples)) > 0


def test_rotary_positions_have_no_end(models: dict[str, Path]) -> None:
    model = load_model(models["llama"])
    model.config.max_position_embeddings = 8
    assert can_read(model, 100)
    require_positions(model, 100, "a text")
    assert not model.base_model.layers[0]._forward_hooks


@pytest.mark.parametrize("role", ["pivot", "source"])
def test_a_token_without_an_embedding_is_named(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path, role: str
) -> None:
    checkpoint = shutil.copytree(models["llama"], tmp_path / "wide")
    tokenizer = load_tokenizer(checkpoint)
    tokenizer.add_tokens(["unused", "Hello"])
    tokenizer.save_pretrained(checkpoint)
    changes: dict[str, Any] = (
        {"pivot": checkpoint} if role == "pivot" else {"sources": (SourceSpec(name="a", checkpoint=checkpoint),)}
    )
    with pytest.raises(
        InputError, match=r"text-1: the token 'Hello' has the id 351, but the model of .* has embeddings"
    ):
        fuse(make_recipe(**changes), tmp_path / "out")


@pytest.mark.parametrize(("field", "value"), [("values", np.inf), ("lse", np.nan), ("mean", -np.inf)])
def test_a_source_that_gives_no_numbers_is_named(
    models: dict[str, Path], examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str,
    value: float,
) -> None:  # fmt: skip
    own = LiveSource._forward

    def spoilt(self: LiveSource, encoded: Any) -> list[SequenceSignal]:
        signals = own(self, encoded)
        getattr(signals[0], field)[1] = value
        return signals

    monkeypatch.setattr(LiveSource, "_forward", spoilt)
    message = r"source .*: infinite or NaN logits at 1 of \d+ positions of example text-\d+\nrun the source in bfloat16"
    with pytest.raises(InputError, match=message):
        LiveSource("a", models["llama"], 4, 128).read(examples)
    with pytest.raises(InputError, match=message):
        build_cache(models["llama"], tmp_path / "cache", examples, 4, 128)


def test_numbers_are_accepted() -> None:
    one = np.ones(2, np.float32)
    require_finite("a", Example("x", "p", "r"), SequenceSignal(np.ones((2, 3)), None, one, None, one, one))


def test_padding_of_a_wider_source_belongs_to_no_token(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path
) -> None:
    """A source whose output layer has more rows than the pivot's says mostly padding: the losses count it as rest."""
    wide = shutil.copytree(models["twin"], tmp_path / "wide")
    model = load_model(wide)
    with quiet():
        model.resize_token_embeddings(model.config.vocab_size + 40)
        with torch.no_grad():  # every other padding row repeats a likely token, so padding is among the largest
            model.get_output_embeddings().weight[-40:] = model.get_output_embeddings().weight[:40] * 1.5
        model.save_pretrained(wide)
    tokens = vocabulary_size(load_tokenizer(wide))
    terms = tuple(TermSpec(loss=loss, weight=1) for loss in ("kl", "gkd", "minced"))
    recipe = make_recipe(sources=(SourceSpec(name="wide", checkpoint=wide),), terms=terms)
    fusion = prepare(recipe, Accelerator(cpu=True), tmp_path / ".state")
    batch = fusion.data.batch(range(10))
    signal = batch.sources["wide"][0]
    assert int(signal.need("ids").max()) >= fusion.model.vocabulary > tokens
    read = [fusion.loss._translated(term, signal) for term in fusion.loss.terms]
    named = (read[0].need("ids"), read[1].need("ids"), read[2].need("mapped"))
    for ids in named:
        assert torch.equal(ids < 0, signal.need("ids") >= tokens)
        assert int(ids.max()) < tokens
    values = forward(fusion, fusion.model, batch, fusion.loss.counts([batch]))
    assert all(value.isfinite() for value in values)


def test_a_folder_of_maps_that_cannot_be_written_is_found_before_a_model_is_loaded(
    make_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GLDFUSION_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("gldfusion.pivot.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    with pytest.raises(InputError, match=r"cannot save vocabulary maps in .*\nset GLDFUSION_CACHE"):
        fuse(make_recipe(terms=(TermSpec(loss="minced", weight=1),)), tmp_path / "out")


@pytest.mark.parametrize("method", ["gptq", "awq", "compressed-tensors", "bitsandbytes"])
def test_a_quantised_checkpoint_names_the_library_that_it_needs(
    models: dict[str, Path], tmp_path: Path, method: str
) -> None:
    checkpoint = shutil.copytree(models["qwen2"], tmp_path / "quantised")
    config = json.loads((checkpoint / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4, "load_in_4bit": True}
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"needs a library that is not installed\n.*install") as caught:
        load_model(checkpoint)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"identity": {}, "log": []}', '{"identity": {}, "log": [{"loss": 1}]}']
)
def test_a_saved_state_with_a_broken_log_is_told_in_words(tmp_path: Path, content: str) -> None:
    folder = tmp_path / ".out.state"
    (folder / "step-1").mkdir(parents=True)
    (folder / "step-1" / "log.json").write_text(content)
    write_manifest(folder / "step-1")
    with pytest.raises(InputError, match=rf"log\.json.*\n.*delete {folder} to start again|delete {folder}"):
        load_state(Accelerator(cpu=True), folder, {})


def test_a_saved_state_that_torch_cannot_load_is_told_in_words(tmp_path: Path) -> None:
    folder = tmp_path / ".out.state"
    (folder / "step-1").mkdir(parents=True)
    entry = {"step": 1, "tokens": 1, "seconds": 1.0}
    (folder / "step-1" / "log.json").write_text(json.dumps({"identity": {}, "log": [entry]}))
    (folder / "step-1" / "pytorch_model.bin").write_bytes(b"no weights")
    write_manifest(folder / "step-1")
    accelerator = Accelerator(cpu=True)
    accelerator.prepare(torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match=r"the saved state .*step-1 cannot be loaded .*\n.*delete"):
        load_state(accelerator, folder, {})


@pytest.mark.parametrize(
    ("text", "number"), [("1e-5", 1e-5), ("1E5", 1e5), ("-2.5e+3", -2500.0), (".5e1", 5.0), ("3.e2", 300.0)]
)
def test_numbers_with_an_exponent_are_numbers(text: str, number: float) -> None:
    assert parse_yaml(f"a: {text}", "a file") == {"a": number}
    options = parse_yaml(f"temperature: {text}", "a file")
    if number > 0:
        assert make_loss("kl", options) == make_loss("kl", {"temperature": number})


@pytest.mark.parametrize("text", ["1e", "e5", "12e3x", "'1e-5'", "a1e5", "2020-01-01"])
def test_texts_that_look_like_numbers_stay_texts(text: str) -> None:
    assert parse_yaml(f"a: {text}", "a file") == {"a": text.strip("'")}
