"""Saved training states, and what a killed or stopped training leaves behind."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from gldfusion import fuse as loop
from gldfusion.errors import InputError
from gldfusion.files import hash_file, lock
from gldfusion.fuse import fuse
from gldfusion.optim import learning_rate
from gldfusion.progress import Watch
from gldfusion.recipe import Recipe, SourceSpec
from gldfusion.state import Log, StateWriter, load_state, remove_states, remove_unfinished, states

RecipeMaker = Callable[..., Recipe]
IDENTITY = {"recipe": "r", "data": "d"}


@pytest.fixture
def training() -> tuple[Accelerator, torch.nn.Module]:
    """Anything with weights and an optimizer."""
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(2, 2)
    return accelerator, accelerator.prepare(model, torch.optim.AdamW(model.parameters()))[0]


def save_state(accelerator: Accelerator, folder: Path, identity: dict[str, str], log: Log) -> None:
    StateWriter(accelerator, folder, identity).save(log)


def fill(model: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def damage(file: Path, at: int = -9) -> None:
    """Flips one bit."""
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def test_the_last_two_states_are_kept_and_the_last_one_comes_back(
    training: tuple[Accelerator, torch.nn.Module], tmp_path: Path
) -> None:
    accelerator, model = training
    folder = tmp_path / ".out.state"
    assert load_state(accelerator, folder, IDENTITY) == ([], 0)
    for step in (1, 2, 10):
        fill(model, step)
        save_state(accelerator, folder, IDENTITY, [{"step": step}])
    assert [path.name for path in states(folder)] == ["step-10", "step-2"]
    fill(model, 9)
    assert load_state(accelerator, folder, IDENTITY) == ([{"step": 10}], 10)
    assert all(parameter.eq(10).all() for parameter in model.parameters())
    remove_states(folder)
    assert os.listdir(tmp_path) == []


def test_a_crash_before_the_rename_keeps_the_older_state(
    training: tuple[Accelerator, torch.nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator, model = training
    folder = tmp_path / ".out.state"
    fill(model, 1)
    save_state(accelerator, folder, IDENTITY, [{"step": 1}])

    def crash(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", crash)
    fill(model, 2)
    with pytest.raises(KeyboardInterrupt):
        save_state(accelerator, folder, IDENTITY, [{"step": 1}, {"step": 2}])
    monkeypatch.undo()
    assert os.listdir(folder) == ["step-1"]
    assert load_state(accelerator, folder, IDENTITY) == ([{"step": 1}], 1)
    assert all(parameter.eq(1).all() for parameter in model.parameters())


def test_what_a_kill_leaves_is_removed(training: tuple[Accelerator, torch.nn.Module], tmp_path: Path) -> None:
    accelerator, _ = training
    folder = tmp_path / ".out.state"
    (folder / "step-1.part").mkdir(parents=True)
    (folder / "step-1.part" / "half").touch()
    assert load_state(accelerator, folder, IDENTITY) == ([], 0)
    save_state(accelerator, folder, IDENTITY, [{"step": 1}])
    assert os.listdir(folder) == ["step-1"]
    assert not (folder / "step-1" / "half").exists()
    (folder / "step-2.part").mkdir()
    remove_unfinished(folder)
    assert os.listdir(folder) == ["step-1"]


STATE_FILES = ("log.json", "manifest.json", "optimizer.bin", "pytorch_model.bin", "random_states_0.pkl")


@pytest.mark.parametrize("name", STATE_FILES)
def test_a_damaged_state_is_named_and_the_one_before_it_is_used(
    training: tuple[Accelerator, torch.nn.Module], tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    accelerator, model = training
    folder = tmp_path / ".out.state"
    for step in (1, 2):
        fill(model, step)
        save_state(accelerator, folder, IDENTITY, [{"step": step}])
    assert sorted(os.listdir(folder / "step-2")) == list(STATE_FILES)
    damage(folder / "step-2" / name)
    assert load_state(accelerator, folder, IDENTITY)[1] == 1
    assert all(parameter.eq(1).all() for parameter in model.parameters())
    (record,) = caplog.records
    assert str(folder / "step-2") in record.getMessage()
    assert "damaged" in record.getMessage()
    damage(folder / "step-1" / name)
    with pytest.raises(
        InputError, match=r"every saved state in .* is damaged \(step-2, step-1\)\ndelete the folder to"
    ):
        load_state(accelerator, folder, IDENTITY)


def test_a_file_that_was_added_to_a_state_is_not_loaded(
    training: tuple[Accelerator, torch.nn.Module], tmp_path: Path
) -> None:
    """Accelerate reads model.safetensors before pytorch_model.bin."""
    accelerator, model = training
    folder = tmp_path / ".out.state"
    save_state(accelerator, folder, IDENTITY, [{"step": 1}])
    save_file({name: p.detach() + 1 for name, p in model.named_parameters()}, folder / "step-1" / "model.safetensors")
    with pytest.raises(InputError, match="every saved state"):
        load_state(accelerator, folder, IDENTITY)


def test_a_state_of_an_older_version_is_refused(training: tuple[Accelerator, torch.nn.Module], tmp_path: Path) -> None:
    folder = tmp_path / ".out.state"
    folder.mkdir()
    (folder / "log.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds no saved state of this version, but log\.json\ndelete the folder"):
        load_state(training[0], folder, IDENTITY)


def test_a_state_of_something_else_is_refused(training: tuple[Accelerator, torch.nn.Module], tmp_path: Path) -> None:
    accelerator, model = training
    folder = tmp_path / ".out.state"
    save_state(accelerator, folder, IDENTITY, [{"step": 1}])
    fill(model, 9)
    with pytest.raises(InputError, match=r"belongs to another data\ndelete it to start again"):
        load_state(accelerator, folder, IDENTITY | {"data": "e"})
    with pytest.raises(InputError, match="belongs to another sources"):
        load_state(accelerator, folder, IDENTITY | {"sources": "s"})
    assert all(parameter.eq(9).all() for parameter in model.parameters())


class CrashError(Exception):
    """A process that ends in the middle."""


def crash_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise CrashError

    return progress


def weights(checkpoint: Path) -> str:
    return hash_file(checkpoint / "model.safetensors")


def without_seconds(checkpoint: Path) -> list[dict[str, object]]:
    lines = (checkpoint / "training_log.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def test_a_crashed_training_goes_on_bit_for_bit(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    """Crashes after a save, between saves, before the first save; the batches cross the end of an epoch."""
    recipe = make_recipe(steps=7, save_every=2, micro_batch_size=3, probe_every=3)
    undisturbed = fuse(recipe, tmp_path / "undisturbed")
    output = tmp_path / "crashed"
    for crash, saved in ((1, False), (3, True), (4, True)):
        with pytest.raises(CrashError):
            fuse(recipe, output, crash_at(crash))
        assert not output.exists()
        assert bool(states(tmp_path / ".crashed.state")) is saved
    steps: list[int] = []
    fuse(recipe, output, lambda done, total: steps.append(done))
    assert steps == [5, 6, 7]
    assert weights(output) == weights(undisturbed)
    assert without_seconds(output) == without_seconds(undisturbed)
    assert [entry["step"] for entry in without_seconds(output)] == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(os.listdir(tmp_path)) == [".crashed.lock", ".undisturbed.lock", "crashed", "undisturbed"]


def test_a_training_from_the_older_state_ends_in_the_same_weights(
    make_recipe: RecipeMaker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = make_recipe(steps=7, save_every=2)
    undisturbed = fuse(recipe, tmp_path / "undisturbed")
    for name in STATE_FILES:
        output = tmp_path / name.replace(".", "-")
        with pytest.raises(CrashError):
            fuse(recipe, output, crash_at(5))
        saved = states(tmp_path / f".{output.name}.state")
        assert [path.name for path in saved] == ["step-4", "step-2"]
        damage(saved[0] / name)
        steps: list[int] = []
        caplog.clear()
        fuse(recipe, output, lambda done, total, steps=steps: steps.append(done))
        assert [str(saved[0]) in record.getMessage() for record in caplog.records] == [True]
        assert steps == [3, 4, 5, 6, 7]
        assert weights(output) == weights(undisturbed)
        assert without_seconds(output) == without_seconds(undisturbed)


def test_a_lost_optimizer_state_would_be_noticed(
    make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: here a resumed training forgets Adam's moments."""
    recipe = make_recipe(steps=4, save_every=2)
    undisturbed = fuse(recipe, tmp_path / "undisturbed")
    with pytest.raises(CrashError):
        fuse(recipe, tmp_path / "crashed", crash_at(2))

    def forgetful(accelerator: Accelerator, *arguments: object) -> object:
        loaded = load_state(accelerator, *arguments)  # pyright: ignore[reportArgumentType]
        accelerator._optimizers[-1].state.clear()
        return loaded

    monkeypatch.setattr(loop, "load_state", forgetful)
    assert weights(fuse(recipe, tmp_path / "crashed")) != weights(undisturbed)


@pytest.mark.parametrize("change", ["lambda", "seed", "source weight", "source checkpoint", "pivot", "data"])
def test_another_training_does_not_go_on_from_here(
    make_recipe: RecipeMaker, models: dict[str, Path], tmp_path: Path, change: str
) -> None:
    twin = SourceSpec(name="twin", checkpoint=models["twin"])
    with pytest.raises(CrashError):
        fuse(make_recipe(sources=(twin,), save_every=1), tmp_path / "out", crash_at(2))
    data = tmp_path / "other.jsonl"
    data.write_text('{"prompt": "x", "response": "yy"}\n')
    changes = {
        "lambda": {"lambda": 0.3},
        "seed": {"seed": 1},
        "source weight": {"sources": (twin.model_copy(update={"weight": 0.5}),)},
        "source checkpoint": {"sources": (twin.model_copy(update={"checkpoint": models["llama"]}),)},
        "pivot": {"pivot": models["twin"]},
        "data": {"data": data},
    }
    name = change.split()[0]
    word = {"lambda": "recipe", "seed": "recipe", "source": "sources"}.get(name, name)
    with pytest.raises(InputError, match=rf"\.out\.state belongs to another {word}\n"):
        fuse(make_recipe(**{"sources": (twin,), "save_every": 1} | changes[change]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"micro_batch_size": 1},
        {"save_every": 3},
        {"log_every": 1},
        {"probe_every": 1},
        {"name": "other"},
        {"epochs": 0.6},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_training_goes_on_with_settings_that_do_not_decide_its_result(
    make_recipe: RecipeMaker, tmp_path: Path, change: dict[str, object]
) -> None:
    """Weights differ by rounding only (another micro-batch size), or not at all. 0.6 epochs of 10 texts are 3 steps."""
    settings: dict[str, object] = {"batch_size": 2, "save_every": 2, "steps": 3, "optimizer": "sgd"}
    undisturbed = fuse(make_recipe(**settings), tmp_path / "undisturbed")
    with pytest.raises(CrashError):
        fuse(make_recipe(**settings), tmp_path / "out", crash_at(2))
    steps: list[int] = []
    output = fuse(make_recipe(**settings | change), tmp_path / "out", lambda done, total: steps.append(done))
    assert steps == [3]
    ours, theirs = (load_file(path / "model.safetensors") for path in (output, undisturbed))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=0)


def test_a_longer_training_follows_the_new_schedule_from_there_on(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    settings = {"save_every": 2, "schedule": "linear", "warmup": 0.25}
    with pytest.raises(CrashError):
        fuse(make_recipe(steps=4, **settings), tmp_path / "out", crash_at(2))
    lines: list[str] = []
    longer = make_recipe(steps=8, **settings)
    output = fuse(longer, tmp_path / "out", watch=Watch(say=lines.append))
    assert (
        "the number of steps changed from 4 to 8: from step 3 on the learning rate follows the schedule of 8 steps"
    ) in lines
    log = without_seconds(output)
    assert [entry["steps"] for entry in log] == [4, 4, 8, 8, 8, 8, 8, 8]
    rates = [entry["learning_rate"] for entry in log]
    assert rates[:2] == [learning_rate(longer.train, step, 4) for step in (0, 1)]
    assert rates[2:] == [learning_rate(longer.train, step, 8) for step in range(2, 8)]
    schedule = json.loads((output / "fusion.json").read_text())["schedule"]
    assert schedule == [{"from_step": 1, "steps": 4}, {"from_step": 3, "steps": 8}]


def test_a_training_cannot_be_made_shorter_than_it_is(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        fuse(make_recipe(steps=6, save_every=2), tmp_path / "out", crash_at(5))
    with pytest.raises(InputError, match=r"is at step 4, but the recipe asks for 4 steps\ngive at least 5 steps, or"):
        fuse(make_recipe(steps=4, save_every=2), tmp_path / "out")
    assert [path.name for path in states(tmp_path / ".out.state")] == ["step-4", "step-2"]


def test_a_gradient_that_is_not_finite_stops_and_keeps_the_last_good_state(
    make_recipe: RecipeMaker, tmp_path: Path
) -> None:
    """The first update is a jump to 1e30; after it the loss is still a number, its gradient is not."""
    recipe = make_recipe(optimizer="sgd", learning_rate=1e30, save_every=1)
    with pytest.raises(InputError, match="not finite") as caught:
        fuse(recipe, tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert re.match(r"the loss is not finite at step 2 \(sft .*, llama/uld .*, gradient norm nan\)$", lines[0])
    assert lines[1].startswith("batch: examples text-")
    assert lines[1].count("text-") == 4
    assert lines[2].startswith(f"the last good state is kept in {tmp_path / '.out.state'}; lower")
    assert sorted(os.listdir(tmp_path)) == [".out.lock", ".out.state"]
    assert json.loads((tmp_path / ".out.state" / "step-1" / "log.json").read_text())["log"][-1]["step"] == 1
    saved = torch.load(tmp_path / ".out.state" / "step-1" / "pytorch_model.bin", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in saved.values())
    with lock(tmp_path / ".out.lock"):
        pass


def test_a_loss_that_is_not_finite_at_once(
    make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one term is infinite, in one micro-batch; no state had been saved."""
    forward = loop.forward

    def spoilt(*arguments: object) -> list[torch.Tensor]:
        values = forward(*arguments)  # pyright: ignore[reportArgumentType]
        return [values[0], values[1] * torch.inf, *values[2:]]

    monkeypatch.setattr(loop, "forward", spoilt)
    with pytest.raises(InputError, match=r"step 1 \(sft [\d.]+, llama/uld inf, .*\n.*\nno state had been saved yet"):
        fuse(make_recipe(), tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_while_saving_keeps_the_old_state(
    make_recipe: RecipeMaker, tmp_path: Path, room: Callable[[int | None], None]
) -> None:
    recipe = make_recipe(steps=6, save_every=2)
    undisturbed = fuse(recipe, tmp_path / "undisturbed")
    output = tmp_path / "filled"
    for size in (4096, 60_000):  # the weights do not fit; the weights fit, the optimizer's state does not
        with pytest.raises(OSError, match=r"No space left on device: '.*/\.filled\.state/step-4'"):
            fuse(recipe, output, lambda done, total, size=size: room(size if done >= 2 else None))
        room(None)
        assert sorted(p for p in os.listdir(tmp_path) if "filled" in p) == [".filled.lock", ".filled.state"]
        assert len(json.loads((tmp_path / ".filled.state" / "step-2" / "log.json").read_text())["log"]) == 2
    assert weights(fuse(recipe, output)) == weights(undisturbed)


def test_a_full_disk_while_exporting_keeps_the_state(
    make_recipe: RecipeMaker, tmp_path: Path, room: Callable[[int | None], None]
) -> None:
    recipe = make_recipe(steps=3, save_every=2)
    undisturbed = fuse(recipe, tmp_path / "undisturbed")
    output = tmp_path / "filled"
    with pytest.raises(OSError, match=r"File too large: '.*/filled'"):
        fuse(recipe, output, lambda done, total: room(4096 if done == total else None))
    room(None)
    assert sorted(p for p in os.listdir(tmp_path) if "filled" in p) == [".filled.lock", ".filled.state"]
    assert weights(fuse(recipe, output)) == weights(undisturbed)


def test_two_trainings_do_not_meet(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    with lock(tmp_path / ".out.lock"), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        fuse(make_recipe(), tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="will not overwrite"):
        fuse(make_recipe(), tmp_path / "out")


def test_states_that_a_kill_left_beside_a_complete_checkpoint_are_removed(
    make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, output = make_recipe(steps=3, save_every=1), tmp_path / "out"
    monkeypatch.setattr(loop, "remove_states", lambda folder: None)  # the process is killed before this line
    fuse(recipe, output)
    assert states(tmp_path / ".out.state")
    with pytest.raises(InputError, match="already exists and is a complete fused checkpoint"):
        fuse(recipe, output)
    assert sorted(os.listdir(tmp_path)) == [".out.lock", "out"]
    with pytest.raises(CrashError):
        fuse(make_recipe(steps=3, save_every=1, seed=1), tmp_path / "other", crash_at(2))
    (tmp_path / ".other.state").rename(tmp_path / ".out.state")
    with pytest.raises(InputError, match="complete fused checkpoint"):
        fuse(recipe, output)
    assert states(tmp_path / ".out.state")  # of another training: kept


def test_an_existing_output_is_refused_and_a_damaged_one_is_named(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    recipe, output = make_recipe(steps=1), tmp_path / "out"
    fuse(recipe, output)
    before = weights(output)
    damage(output / "tokenizer.json")
    with pytest.raises(
        InputError, match=r"is not intact\n.*tokenizer\.json is damaged: .*\ndelete the folder .*/out and"
    ):
        fuse(recipe, output)
    remove_states(output)
    assert weights(fuse(recipe, output)) == before


@pytest.mark.parametrize("size", [241, 300])
def test_a_name_without_room_for_temporary_names_is_refused_at_once(
    make_recipe: RecipeMaker, tmp_path: Path, size: int
) -> None:
    with pytest.raises(InputError, match=r"too long: .*\nexpected at most 240 bytes"):
        fuse(make_recipe(steps=1), tmp_path / ("n" * size))
    assert fuse(make_recipe(steps=2, save_every=1), tmp_path / ("n" * 240)).is_dir()
