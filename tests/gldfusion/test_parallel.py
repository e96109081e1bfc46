"""Two gloo processes train exactly what one does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gldfusion.fuse import fuse
from gldfusion.recipe import Recipe
from tests.gldfusion.parallel_launch import launch_two

BUGS = ("means of each process", "unwrapped model")


def run_two(recipe: Recipe, folder: Path) -> None:
    """Runs parallel_worker.py in two processes; their messages, if one fails."""
    (folder / "recipe.json").write_text(recipe.model_dump_json(by_alias=True))
    ended = launch_two("parallel_worker", str(folder / "recipe.json"), str(folder))
    assert [code for code, _ in ended] == [0, 0], "\n".join(said for _, said in ended)


@pytest.fixture(scope="module")
def fused(make_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same recipe in one process ("one") and in two: uld and gld on two sources with tokenizers of their own.

    A process has 5 of 10 ragged texts, cut to 2, 2 and 1.
    """
    folder = tmp_path_factory.mktemp("parallel")
    recipe = make_recipe(
        optimizer="sgd", learning_rate=1e-2, schedule="constant", batch_size=10, micro_batch_size=2, probe_every=2
    )
    run_two(recipe, folder)
    fuse(
        recipe.model_copy(update={"train": recipe.train.model_copy(update={"micro_batch_size": None})}), folder / "one"
    )
    return folder


def assert_equals_one_process(folder: Path, name: str) -> None:
    one, two = (load_file(folder / n / "model.safetensors") for n in ("one", name))
    for tensor in one:
        torch.testing.assert_close(two[tensor], one[tensor], atol=1e-6, rtol=0)


def test_two_processes_equal_one(fused: Path, models: dict[str, Path]) -> None:
    assert_equals_one_process(fused, "right")
    before, after = (load_file(path / "model.safetensors") for path in (models["pivot"], fused / "one"))
    assert max(float((after[name] - before[name]).abs().max()) for name in before) > 1e-3


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(fused: Path, bug: str) -> None:
    with pytest.raises(AssertionError, match="not close"):
        assert_equals_one_process(fused, bug)


def test_the_log_counts_all_processes(fused: Path) -> None:
    one, two = (
        [json.loads(line) for line in (fused / name / "training_log.jsonl").read_text().splitlines()]
        for name in ("one", "right")
    )
    assert {entry["processes"] for entry in one} == {1}
    assert {entry["processes"] for entry in two} == {2}
    assert json.loads((fused / "right" / "fusion.json").read_text())["processes"] == 2
    for ours, theirs in zip(one, two, strict=True):
        assert ours["tokens"] == theirs["tokens"]
        assert ours["terms"] == pytest.approx(theirs["terms"], rel=1e-4)
        assert list(ours["gradient_share"]) == list(theirs["gradient_share"])
