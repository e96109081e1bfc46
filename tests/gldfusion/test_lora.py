"""Low-rank adapters: what is trained, saved and exported, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from peft import PeftModel
from safetensors.torch import load_file

from gldfusion import fuse as loop
from gldfusion import pivot as pivot_module
from gldfusion.errors import InputError
from gldfusion.files import hash_file
from gldfusion.fuse import fuse
from gldfusion.model import load_model
from gldfusion.prepare import prepare
from gldfusion.recipe import Lora, Recipe, TermSpec

RecipeMaker = Callable[..., Recipe]
SMALL: dict[str, Any] = {"rank": 4, "alpha": 8}
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # of peft
bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


def test_an_exported_adapter_that_peft_loads_and_merges_is_the_merged_export(
    make_recipe: RecipeMaker, models: dict[str, Path], tmp_path: Path
) -> None:
    adapter = fuse(make_recipe(lora={**SMALL, "export": "adapter"}), tmp_path / "adapter")
    merged = fuse(make_recipe(lora=SMALL), tmp_path / "merged")
    assert not (adapter / "model.safetensors").exists()
    assert not (merged / "adapter_config.json").exists()
    loaded: Any = PeftModel.from_pretrained(load_model(models["pivot"]), adapter)
    ours, pivot = weights(merged), weights(models["pivot"])
    theirs = loaded.merge_and_unload().state_dict()
    assert ours.keys() == pivot.keys()
    for name, tensor in ours.items():
        assert torch.equal(theirs[name], tensor), name
    changed = {name for name in pivot if not torch.equal(pivot[name], ours[name])}
    assert changed == {name for name in pivot if "layers" in name and "norm" not in name}
    assert (adapter / "tokenizer.json").exists()
    assert json.loads((adapter / "manifest.json").read_text())["files"]["adapter_model.safetensors"]


def test_the_losses_see_the_adapted_model(make_recipe: RecipeMaker, models: dict[str, Path], tmp_path: Path) -> None:
    """The merged checkpoint, loaded as a pivot, has the loss that the adapted model had in training."""
    recipe = make_recipe(lora=SMALL, terms=(TermSpec(loss="minced", weight=0.5), TermSpec(loss="uld", weight=1)))
    merged = fuse(recipe, tmp_path / "merged")
    seen = []
    for changes in ({"lora": SMALL}, {"pivot": merged}):
        fusion = prepare(make_recipe(**changes), Accelerator(cpu=True), tmp_path / "x")
        if "lora" in changes:
            own = weights(merged)
            delta = {n: t - weights(models["pivot"])[n] for n, t in own.items()}
            with torch.no_grad():
                for name, module in fusion.model.model.named_modules():
                    if hasattr(module, "lora_A"):  # full-rank factors with the same product
                        module.lora_A["default"].weight = torch.nn.Parameter(delta[f"{name}.weight"])
                        module.lora_B["default"].weight = torch.nn.Parameter(
                            torch.eye(len(delta[f"{name}.weight"])) / 2
                        )
        batch = fusion.data.batch(range(10))
        values = loop.forward(fusion, fusion.model, batch, fusion.loss.counts([batch]))
        seen.append(torch.stack(values).detach())
    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=1e-4)
    start = prepare(make_recipe(), Accelerator(cpu=True), tmp_path / "x")
    values = loop.forward(start, start.model, batch, start.loss.counts([batch]))
    assert float((torch.stack(values).detach() - seen[0]).abs().max()) > 1e-3


class CrashError(Exception):
    """A process that ends in the middle."""


def crash_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise CrashError

    return progress


def test_a_killed_training_of_adapters_goes_on_bit_for_bit_and_its_state_holds_adapters_only(
    make_recipe: RecipeMaker, tmp_path: Path
) -> None:
    recipe = make_recipe(lora={**SMALL, "export": "adapter"}, steps=5, save_every=2, gradient_checkpointing=True)
    undisturbed = fuse(recipe, tmp_path / "undisturbed")
    with pytest.raises(CrashError):
        fuse(recipe, tmp_path / "out", crash_at(3))
    saved = torch.load(tmp_path / ".out.state" / "step-2" / "pytorch_model.bin", weights_only=True)
    assert saved
    assert all("lora_" in name for name in saved)
    changed = recipe.train.model_copy(update={"lora": Lora(**SMALL, export="merged"), "gradient_checkpointing": False})
    steps: list[int] = []
    other = fuse(recipe.model_copy(update={"train": changed}), tmp_path / "out", lambda done, total: steps.append(done))
    assert steps == [3, 4, 5]
    base = load_model(recipe.pivot)
    loaded: Any = PeftModel.from_pretrained(base, undisturbed)
    theirs = loaded.merge_and_unload().state_dict()
    for name, tensor in weights(other).items():
        assert torch.equal(theirs[name], tensor), name


def test_equal_trainings_write_equal_adapters(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    recipe = make_recipe(lora={**SMALL, "export": "adapter"}, steps=1)
    first, second = (fuse(recipe, tmp_path / name) for name in ("a", "b"))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert hash_file(first / name) == hash_file(second / name)
    targets = json.loads((first / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets)
    assert {name.split(".")[-1] for name in targets} == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}


def test_only_the_adapters_are_trained_and_counted(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    fusion = prepare(make_recipe(lora=SMALL), Accelerator(cpu=True), tmp_path / "out")
    trained = {name for name, p in fusion.model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert sum(len(group["params"]) for group in fusion.optimizer.param_groups) == len(trained)
    sizes = [sum(p.numel() for n, p in fusion.model.named_parameters() if ("lora_" in n) is a) for a in (False, True)]
    assert loop.flops(fusion.model, 10, 1) == 10 * (4 * sizes[0] + 6 * sizes[1]) + 2 * sum(sizes)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("q_proj", r"has no module q_proj\nits linear layers: down_proj, gate_up_proj, lm_head, o_proj, qkv_proj"),
        ("lm_head", "lm_head is an embedding of Phi3ForCausalLM, and cannot have an adapter"),
        ("embed_tokens", "embed_tokens is an embedding"),
        ("input_layernorm", "adapters cannot be put into Phi3ForCausalLM"),
    ],
)
def test_targets_that_cannot_be_adapted(make_recipe: RecipeMaker, tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        fuse(make_recipe(lora={"target_modules": [target]}), tmp_path / "out")
    assert len(str(caught.value).splitlines()) <= 3
    assert os.listdir(tmp_path) == []


def test_a_half_precision_base_has_float32_adapters(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    fusion = prepare(make_recipe(lora=SMALL, weights="bfloat16"), Accelerator(cpu=True), tmp_path / "out")
    types = {("lora_" in name, p.dtype) for name, p in fusion.model.named_parameters()}
    assert types == {(False, torch.bfloat16), (True, torch.float32)}


def test_qlora_without_its_package_is_refused(
    make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gldfusion.lora.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"nf4 needs the package bitsandbytes\ninstall it: pip install"):
        fuse(make_recipe(lora={"quantization": "nf4"}), tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_qlora_asks_for_four_bits(make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loading code is asked for, where bitsandbytes is not installed: the weights then stay whole."""
    asked = []
    load = pivot_module.load_model

    def whole(path: Path, dtype: str, trust: bool, quantization: Any) -> Any:
        asked.append(quantization)
        return load(path, dtype, trust)

    monkeypatch.setattr("gldfusion.lora.find_spec", lambda name: True)
    monkeypatch.setattr(pivot_module, "load_model", whole)
    fuse(make_recipe(lora={**SMALL, "quantization": "nf4"}, precision="bf16", steps=1), tmp_path / "out")
    settings = asked[0].to_dict()
    assert settings["load_in_4bit"]
    assert settings["bnb_4bit_quant_type"] == "nf4"
    assert settings["bnb_4bit_use_double_quant"]
    assert settings["bnb_4bit_compute_dtype"] == "bfloat16"


@bitsandbytes
@pytest.mark.filterwarnings("default")
def test_qlora_trains_adapters_on_a_pivot_in_four_bits(
    make_recipe: RecipeMaker, models: dict[str, Path], tmp_path: Path
) -> None:
    lora = {**SMALL, "quantization": "nf4"}
    fusion = prepare(make_recipe(lora=lora), Accelerator(cpu=True), tmp_path / "x")
    assert {p.dtype for n, p in fusion.model.named_parameters() if "base_layer" in n} == {torch.uint8}
    recipe = make_recipe(lora=lora | {"export": "adapter"}, steps=4, save_every=2)
    adapter = fuse(recipe, tmp_path / "adapter")
    with pytest.raises(CrashError):
        fuse(recipe, tmp_path / "out", crash_at(3))
    merged = fuse(make_recipe(lora=lora, steps=4, save_every=2), tmp_path / "out")
    loaded: Any = PeftModel.from_pretrained(load_model(models["pivot"]), adapter)
    theirs = loaded.merge_and_unload().state_dict()
    for name, tensor in weights(merged).items():
        assert torch.equal(theirs[name], tensor), name
        assert ("layers" not in name or "norm" in name) == torch.equal(tensor, weights(models["pivot"])[name])
