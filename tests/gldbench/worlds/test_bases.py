"""A model of the world that names a base starts from the base's trained weights and tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from gldbench.spec import WorldSpec, load_spec
from gldbench.worlds.build import make_data, train_model, world_jobs

MINI = Path(__file__).parents[1] / "mini.yaml"


def nothing(done: int, total: int) -> None:
    """Hears the progress."""


def world_with_expert(learning_rate: float) -> WorldSpec:
    world = load_spec(str(MINI)).world
    train = world.pivot.train.model_copy(update={"learning_rate": learning_rate})
    expert = world.pivot.model_copy(update={"base": "pivot", "set": "source", "examples": 40, "train": train})
    return world.model_copy(update={"specialists": {"specialist-x": expert}})


def test_a_specialist_starts_from_its_base(tmp_path: Path) -> None:
    world = world_with_expert(1e-9)
    make_data(world, tmp_path, nothing)
    for name in ("pivot", "specialist-x"):
        train_model(world, tmp_path, name, nothing)
    base, expert = tmp_path / "models" / "pivot", tmp_path / "models" / "specialist-x"
    assert (base / "tokenizer.json").read_bytes() == (expert / "tokenizer.json").read_bytes()
    before, after = load_file(base / "model.safetensors"), load_file(expert / "model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for name in before:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=1e-7)
    assert not (tmp_path / "init" / "specialist-x").exists()


def test_a_specialist_waits_for_its_base_and_its_logits_are_not_stored(tmp_path: Path) -> None:
    jobs = {job.name: job for job in world_jobs(world_with_expert(1e-3), tmp_path)}
    assert set(jobs["train specialist-x"].needs) == {"data", "train pivot"}
    assert "logits source-a" in jobs
    assert "logits control" in jobs
    assert "logits specialist-x" not in jobs
