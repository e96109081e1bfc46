"""FSDP2 on two gloo processes trains what one process trains, and its states and exports are whole.

The pivot is float64, and the sources are stored, so that both sides read the same bits of them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gldfusion import sharding
from gldfusion.cache import build_cache
from gldfusion.errors import InputError
from gldfusion.fuse import fuse
from gldfusion.model import load_model, model_without_weights
from gldfusion.prepare import require_shardable
from gldfusion.recipe import Recipe, SourceSpec, TermSpec
from gldfusion.sharding import asked_sharding, own_sharding
from gldfusion.sources import Example
from gldfusion.state import states
from tests.gldfusion.double_worker import KILLED
from tests.gldfusion.parallel_launch import launch_two
from tests.gldfusion.test_processes import ROUNDING, SAVED, run_one, write

slow = pytest.mark.slow
LOSSES: dict[str, tuple[tuple[str, ...], tuple[TermSpec, ...]]] = {
    "sft": ((), ()),
    "uld-gld": (("llama", "qwen2"), (TermSpec(loss="uld", weight=0.5), TermSpec(loss="gld", weight=0.25))),
    "kl": (("twin",), (TermSpec(loss="kl", weight=0.5),)),
    "minced": (("llama", "qwen2"), (TermSpec(loss="minced", weight=0.5),)),
}
KINDS: dict[str, dict[str, Any]] = {
    **{name: {} for name in LOSSES},
    "untied": {"pivot": "llama"},
    "recomputed": {"gradient_checkpointing": True},
    "evaluated": {"evaluate_every": 2},
    "adamw": {"optimizer": "adamw"},
    "lora": {"lora": {"rank": 4}},
}
"""name of a case -> how its recipe differs from plain SGD with the loss of this name, or with uld and gld"""


def sharded(folder: Path, last: int = 0) -> set[int]:
    """Runs sharded_worker.py as two processes."""
    ended = launch_two("sharded_worker", str(folder), str(last))
    assert {code for code, _ in ended} <= {0, KILLED}, "\n".join(said for _, said in ended)
    return {code for code, _ in ended}


@pytest.fixture(scope="module")
def sources(
    models: dict[str, Path], examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, SourceSpec]:
    """Stored logits of three sources, by name."""
    folder = tmp_path_factory.mktemp("caches")
    for name in ("twin", "llama", "qwen2"):
        build_cache(models[name], folder / name, examples, 10, 128)
    return {
        name: SourceSpec(name=name, checkpoint=models[name], cache=folder / name) for name in ("twin", "llama", "qwen2")
    }


@pytest.fixture(scope="module")
def trained(
    make_recipe: Callable[..., Recipe],
    models: dict[str, Path],
    data_file: Path,
    sources: dict[str, SourceSpec],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Three steps of each case in one process (folder "one") and sharded over two (folder "two")."""
    folder = tmp_path_factory.mktemp("sharded")
    os.environ["GLDFUSION_CACHE"] = str(folder / "maps")
    try:
        for name, changes in KINDS.items():
            used, terms = LOSSES.get(name, LOSSES["uld-gld"])
            settings: dict[str, Any] = {"optimizer": "sgd", "schedule": "constant", "probe_every": 2} | changes
            if "pivot" in settings:
                settings["pivot"] = models[settings["pivot"]]
            if "evaluate_every" in settings:
                settings["validation"] = data_file
            recipe = make_recipe(
                sources=tuple(sources[source] for source in used),
                terms=terms,
                batch_size=10,
                micro_batch_size=2,
                max_grad_norm=0.5,
                **settings,
            )
            for place in ("one", "two"):
                write(recipe, folder / place / f"{name}.json")
        run_one(folder / "one")
        sharded(folder / "two")
    finally:
        del os.environ["GLDFUSION_CACHE"]
    return folder


def log_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "training_log.jsonl").read_text().splitlines()]


@slow
@pytest.mark.parametrize("name", KINDS)
def test_the_loss_curve_and_the_checkpoint_equal_those_of_one_process(trained: Path, name: str) -> None:
    one, two = trained / "one" / name, trained / "two" / name
    for ours, theirs in zip(log_of(two), log_of(one), strict=True):
        assert ours["processes"] == 2
        assert ours["terms"] == pytest.approx(theirs["terms"], rel=ROUNDING, abs=ROUNDING)
        assert ours["tokens"] == theirs["tokens"]
        assert ours["gradient_share"].keys() == theirs["gradient_share"].keys()
        if "validation" in theirs:
            assert ours["validation"] == pytest.approx(theirs["validation"], rel=ROUNDING)
    expected, found = (load_file(path / "model.safetensors") for path in (one, two))
    assert found.keys() == expected.keys()
    for tensor in expected:
        assert found[tensor].dtype == expected[tensor].dtype
        torch.testing.assert_close(found[tensor], expected[tensor], atol=ROUNDING, rtol=0)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    assert json.loads((two / "config.json").read_text()) == json.loads((one / "config.json").read_text())


@slow
@pytest.mark.parametrize("name", ["uld-gld", "untied", "lora"])
def test_each_process_holds_a_part_of_every_weight_and_moment(trained: Path, name: str) -> None:
    notes = [json.loads((trained / "two" / f"{name}.{rank}.parts").read_text()) for rank in (0, 1)]
    first, second = (note["parameters"] for note in notes)
    assert any("lm_head" in parameter or "embed_tokens" in parameter for parameter in first)
    for parameter, (kind, place, whole, part) in first.items():
        assert (kind, place) == ("DTensor", True), parameter  # cut along its first dimension
        assert part + second[parameter][3] == whole
        assert part < whole or whole == 1, parameter
    for note in notes:
        assert {*note["moments"]} <= {"DTensor"}


@slow
@pytest.mark.parametrize("name", KINDS)
def test_only_the_main_process_reads_the_weights(trained: Path, name: str) -> None:
    loaded = [json.loads((trained / "two" / f"{name}.{rank}.parts").read_text())["loaded"] for rank in (0, 1)]
    assert loaded[0] > 0
    assert loaded[1] == 0


@slow
def test_the_moments_are_in_parts_too(trained: Path) -> None:
    for rank in (0, 1):
        moments = json.loads((trained / "two" / f"adamw.{rank}.parts").read_text())["moments"]
        assert moments
        assert set(moments) == {"DTensor"}


@slow
@pytest.mark.parametrize("second", ["sharded", "one"])
@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_a_killed_sharded_training_goes_on_from_its_parts(
    make_recipe: Callable[..., Recipe],
    sources: dict[str, SourceSpec],
    tmp_path: Path,
    second: str,
    lora: dict[str, Any] | None,
) -> None:
    used = (sources["llama"], sources["qwen2"])
    recipe = make_recipe(sources=used, steps=4, batch_size=4, micro_batch_size=1, save_every=SAVED, lora=lora)
    for name in ("undisturbed", "killed"):
        write(recipe, tmp_path / name / "out.json")
    assert sharded(tmp_path / "undisturbed") == {0}
    assert sharded(tmp_path / "killed", SAVED) == {KILLED}
    state = tmp_path / "killed" / ".out.state" / f"step-{SAVED}"
    assert sorted(path.name for path in state.iterdir()) == ["log.json", "manifest.json", "shards"]
    assert sorted(path.name for path in (state / "shards").iterdir()) == [".metadata", "__0_0.distcp", "__1_0.distcp"]
    if second == "sharded":
        assert sharded(tmp_path / "killed") == {0}
    else:
        assert run_one(tmp_path / "killed") == 0
    theirs, ours = (load_file(tmp_path / name / "out" / "model.safetensors") for name in ("undisturbed", "killed"))
    for name, tensor in theirs.items():
        if second == "sharded":
            assert torch.equal(ours[name], tensor), name
        else:
            torch.testing.assert_close(ours[name], tensor, atol=ROUNDING, rtol=0)
    assert not (tmp_path / "killed" / ".out.state").exists()


def test_a_state_is_written_while_the_training_goes_on(
    make_recipe: Callable[..., Recipe], sources: dict[str, SourceSpec], tmp_path: Path
) -> None:
    """The thread writes the state of step 2 only after step 3, and is killed there: the state of step 1 serves."""
    recipe = make_recipe(sources=(sources["llama"],), steps=4, batch_size=4, micro_batch_size=1, save_every=1)
    for name in ("undisturbed", "killed"):
        write(recipe, tmp_path / name / "out.json")
    assert sharded(tmp_path / "undisturbed") == {0}
    ended = launch_two("sharded_worker", str(tmp_path / "killed"), "2", "beside")
    assert KILLED in {code for code, _ in ended}, ended
    assert [path.name for path in states(tmp_path / "killed" / ".out.state")] == ["step-1"]
    assert sharded(tmp_path / "killed") == {0}
    theirs, ours = (load_file(tmp_path / name / "out" / "model.safetensors") for name in ("undisturbed", "killed"))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@slow
def test_a_disk_that_is_full_while_a_thread_writes_ends_the_training(
    make_recipe: Callable[..., Recipe], sources: dict[str, SourceSpec], tmp_path: Path
) -> None:
    recipe = make_recipe(sources=(sources["llama"],), steps=4, batch_size=4, micro_batch_size=1, save_every=1)
    write(recipe, tmp_path / "out.json")
    ended = launch_two("sharded_worker", str(tmp_path), "2", "full")
    assert all(code not in (0, KILLED) for code, _ in ended)
    assert any("No space left on device" in said for _, said in ended)
    state = tmp_path / ".out.state"
    assert [path.name for path in states(state)] == ["step-1"]
    assert not [*state.glob("*.part")]
    assert not (tmp_path / "out").exists()


@slow
def test_a_damaged_part_is_noticed_and_a_whole_state_is_not_spread(
    make_recipe: Callable[..., Recipe], sources: dict[str, SourceSpec], tmp_path: Path
) -> None:
    recipe = make_recipe(sources=(sources["llama"],), steps=4, batch_size=4, micro_batch_size=1, save_every=SAVED)
    write(recipe, tmp_path / "out.json")
    assert sharded(tmp_path, SAVED) == {KILLED}
    part = tmp_path / ".out.state" / f"step-{SAVED}" / "shards" / ".metadata"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    ended = launch_two("sharded_worker", str(tmp_path), "0")
    assert all("every saved state in" in said and "is damaged" in said for _, said in ended)
    whole = tmp_path / "whole"
    write(recipe, whole / "out.json")
    assert run_one(whole, SAVED) == KILLED
    ended = launch_two("sharded_worker", str(whole), "0")
    assert all("was written without FSDP, and cannot be spread over processes" in said for _, said in ended)


@slow
def test_what_only_the_main_process_sees_is_refused_by_both(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], sources: dict[str, SourceSpec], tmp_path: Path
) -> None:
    shutil.copytree(models["pivot"], tmp_path / "pivot")
    weights = load_file(tmp_path / "pivot" / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "pivot" / "model.safetensors", {"format": "pt"})
    write(make_recipe(sources=(sources["llama"],), pivot=tmp_path / "pivot"), tmp_path / "recipes" / "out.json")
    ended = launch_two("sharded_worker", str(tmp_path / "recipes"), "0")
    assert all("InputError: not a checkpoint: the weights in" in said for _, said in ended)
    assert all("lack model.norm.weight (1 in all)" in said for _, said in ended)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"FSDP_VERSION": "1"}, r"FSDP in version 1.*\ngive --fsdp_version 2"),
        ({}, r"FSDP in version 1.*\ngive --fsdp_version 2"),
        ({"FSDP_VERSION": "2", "FSDP_ACTIVATION_CHECKPOINTING": "true"}, r"set train.gradient_checkpointing: true"),
        ({"FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "nonsense"}, r"settings of FSDP are wrong: .*nonsense"),
    ],
)
def test_what_the_launcher_may_not_ask_for(
    make_recipe: Callable[..., Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    message: str,
) -> None:
    for name, value in (variables | {"ACCELERATE_USE_FSDP": "true"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        fuse(make_recipe(), tmp_path / "out")
    assert os.listdir(tmp_path) == []


def exchanged(main: torch.nn.Module, other: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """What two processes do before they spread a model, one after the other in this process."""
    sent: list[Any] = []
    monkeypatch.setattr(sharding, "get_rank", lambda: 0)
    monkeypatch.setattr(sharding, "of_main_process", sent.append)
    assert sharding._weights_and_buffers(main)[0].keys() == dict(main.named_parameters()).keys()
    monkeypatch.setattr(sharding, "get_rank", lambda: 1)
    monkeypatch.setattr(sharding, "of_main_process", lambda value: sent.pop())
    assert sharding._weights_and_buffers(other)[0] == {}


def kinds_of(model: torch.nn.Module) -> list[tuple[str, torch.Size, torch.dtype, bool]]:
    return [(name, p.shape, p.dtype, p.requires_grad) for name, p in model.named_parameters()]


def test_the_parameters_of_all_processes_become_like_those_of_the_main_one(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration ties two matrices that the checkpoint stores apart; one weight is kept in bf16, one frozen."""
    shutil.copytree(models["pivot"], tmp_path / "pivot")
    weights = load_file(tmp_path / "pivot" / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + 1
    save_file(weights, tmp_path / "pivot" / "model.safetensors", {"format": "pt"})
    main, other = load_model(tmp_path / "pivot"), model_without_weights(tmp_path / "pivot", "float32")
    named = dict(main.named_parameters())
    assert {*named} - {name for name, _ in other.named_parameters()} == {"lm_head.weight"}
    named["model.norm.weight"].requires_grad_(False)
    named["lm_head.weight"].data = named["lm_head.weight"].data.bfloat16()
    exchanged(main, other, monkeypatch)
    assert kinds_of(other) == kinds_of(main)
    assert all(parameter.is_meta for parameter in other.parameters())


def test_a_main_process_with_other_modules_is_refused(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    other = model_without_weights(models["llama"], "float32")
    with pytest.raises(InputError, match=r"not those of its configuration.*\nuse its unquantised original"):
        exchanged(load_model(models["pivot"]), other, monkeypatch)


def test_weights_in_four_bits_are_not_sharded(make_recipe: Callable[..., Recipe]) -> None:
    require_shardable(make_recipe(lora={"rank": 4}))
    with pytest.raises(InputError, match=r"weights in 4 bits .* are not spread over processes\nlaunch without FSDP"):
        require_shardable(make_recipe(lora={"quantization": "nf4"}))


def test_one_process_is_not_sharded_and_the_variable_stays(
    make_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}.items():
        monkeypatch.setenv(name, value)
    asked = asked_sharding()
    assert asked is not None
    assert (asked.reshard, asked.offload) == (True, False)
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "false")
    asked = asked_sharding()
    assert asked is not None
    assert (asked.reshard, asked.offload) == (False, True)
    assert fuse(make_recipe(steps=1), tmp_path / "out").is_dir()
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"
    with own_sharding():
        assert asked_sharding() is None
