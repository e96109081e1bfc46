"""The type of the weights, the 8-bit optimizer, recomputed layers, and the dtype of the export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from gldfusion import pivot as pivot_module
from gldfusion.checkpoint import stored_dtype
from gldfusion.errors import InputError
from gldfusion.files import hash_file, hash_json
from gldfusion.fuse import forward, fuse
from gldfusion.layers import repeated_layers
from gldfusion.model import load_model, load_tokenizer, quiet
from gldfusion.prepare import prepare
from gldfusion.recipe import Recipe, TrainSpec

RecipeMaker = Callable[..., Recipe]
torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")


@pytest.fixture(scope="module")
def half(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pivot, stored in bfloat16."""
    folder = tmp_path_factory.mktemp("half") / "pivot"
    with quiet():
        load_model(models["pivot"], "bfloat16").save_pretrained(folder)
        load_tokenizer(models["pivot"]).save_pretrained(folder)
    return folder


def test_later_keys_with_their_defaults_do_not_change_stored_identities() -> None:
    train = {"steps": 1, "batch_size": 1, "learning_rate": 0.1}
    plain = TrainSpec.model_validate(train).model_dump(mode="json")
    assert not {"weights", "gradient_checkpointing", "lora"} & plain.keys()
    settings = {"name": "x", "pivot": "p", "data": "d", "train": train}
    assert (  # computed by the code before these keys existed
        hash_json(Recipe.model_validate(settings).deciding())
        == "e23f96d5f7e3f187cbd24f653ee735212307460f1506fac6069259a102d7e367"
    )


def test_recomputed_layers_change_nothing_but_memory(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    first, second = (
        fuse(make_recipe(gradient_checkpointing=on), tmp_path / f"checkpointing-{on}") for on in (False, True)
    )
    assert hash_file(first / "model.safetensors") == hash_file(second / "model.safetensors")


def test_recomputed_layers_keep_their_inputs_only(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    kept = {}
    for on in (False, True):
        fusion = prepare(make_recipe(gradient_checkpointing=on), Accelerator(cpu=True), tmp_path / "out")
        batch = fusion.data.batch(range(10))
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            sum(forward(fusion, fusion.model, batch, fusion.loss.counts([batch])))
        kept[on] = sum(sizes)
    assert kept[True] < 0.5 * kept[False]


def test_every_layer_is_recomputed(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    fusion = prepare(make_recipe(gradient_checkpointing=True), Accelerator(cpu=True), tmp_path / "out")
    layers = repeated_layers(fusion.model.model)
    assert layers == list(fusion.model.model.model.layers)
    assert all("forward" in vars(layer) for layer in layers)


def test_a_model_without_known_layers_is_refused(
    make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = pivot_module.load_model

    def nameless(*arguments: Any) -> Any:
        model = load(*arguments)
        model._no_split_modules = set()
        return model

    monkeypatch.setattr(pivot_module, "load_model", nameless)
    with pytest.raises(InputError, match=r"Phi3ForCausalLM does not say which of its modules are layers\ntrain it"):
        fuse(make_recipe(gradient_checkpointing=True), tmp_path / "out")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_bfloat16_weights_need_an_optimizer_that_keeps_small_updates(make_recipe: RecipeMaker, optimizer: str) -> None:
    with pytest.raises(ValueError, match=f"{optimizer} rounds updates of bfloat16 weights to the nearest number"):
        make_recipe(weights="bfloat16", optimizer=optimizer)
    make_recipe(weights="bfloat16", optimizer=optimizer, lora={})


def test_the_8_bit_optimizer_without_its_package_is_refused(
    make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gldfusion.optim.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"adamw_8bit needs the package torchao\ninstall it: pip install"):
        fuse(make_recipe(optimizer="adamw_8bit"), tmp_path / "out")


@torchao
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_bfloat16_weights_with_8_bit_moments_learn_and_resume_bit_for_bit(
    make_recipe: RecipeMaker, half: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"weights": "bfloat16", "optimizer": "adamw_8bit", "pivot": half, "steps": 6}
    recipe = make_recipe(**settings, save_every=2, learning_rate=1e-3, schedule="constant")
    undisturbed = fuse(recipe, tmp_path / "undisturbed")
    log = [json.loads(line)["loss"] for line in (undisturbed / "training_log.jsonl").read_text().splitlines()]
    exact = fuse(make_recipe(pivot=half, steps=6, learning_rate=1e-3, schedule="constant"), tmp_path / "exact")
    expected = [json.loads(line)["loss"] for line in (exact / "training_log.jsonl").read_text().splitlines()]
    assert log == pytest.approx(expected, rel=0.02)
    assert log[-1] < log[0]

    class CrashError(Exception):
        pass

    def crash(done: int, total: int) -> None:
        if done == 5:
            raise CrashError

    with pytest.raises(CrashError):
        fuse(recipe, tmp_path / "out", crash)
    assert hash_file(fuse(recipe, tmp_path / "out") / "model.safetensors") == hash_file(
        undisturbed / "model.safetensors"
    )


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_the_export_has_the_dtype_in_which_the_pivot_is_stored(
    make_recipe: RecipeMaker, half: Path, tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    output = fuse(make_recipe(pivot=half, lora=lora), tmp_path / "out")
    exported, before = (load_file(path / "model.safetensors") for path in (output, half))
    assert exported.keys() == before.keys()
    assert {tensor.dtype for tensor in exported.values()} == {torch.bfloat16}
    assert json.loads((output / "config.json").read_text())["dtype"] == "bfloat16"
    loaded = load_model(output, "auto")
    assert loaded.dtype == torch.bfloat16
    assert loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight
    assert any(not torch.equal(exported[name], before[name]) for name in before)


def test_the_export_is_the_trained_weights_rounded_once(
    make_recipe: RecipeMaker, models: dict[str, Path], half: Path, tmp_path: Path
) -> None:
    whole = shutil.copytree(half, tmp_path / "whole")
    with quiet():
        load_model(half, "float32").save_pretrained(whole)
    exact, rounded = (fuse(make_recipe(pivot=path), tmp_path / f"from-{path.name}") for path in (whole, half))
    theirs, ours = (load_file(path / "model.safetensors") for path in (exact, rounded))
    for name, tensor in theirs.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(ours[name], tensor.bfloat16()), name


def test_the_stored_dtype_is_that_of_most_numbers(half: Path, models: dict[str, Path]) -> None:
    assert stored_dtype(half) == "bfloat16"
    assert stored_dtype(models["pivot"]) == "float32"
