"""The number of processes changes nothing but rounding: with every loss, and for a training that goes on with another.

The pivot is float64, and the sources are stored, so that both sides read the same bits of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gldfusion.cache import build_cache
from gldfusion.recipe import Recipe, SourceSpec, TermSpec
from gldfusion.sources import Example
from tests.gldfusion.double_worker import KILLED
from tests.gldfusion.parallel_launch import launch_two

pytestmark = pytest.mark.slow
ROUNDING = 1e-9
SAVED = 2
"""the step after whose saved state a training is killed"""
LOSSES = {
    "kl": (("twin",), TermSpec(loss="kl", weight=0.5)),
    "gkd": (("twin",), TermSpec(loss="gkd", weight=0.5)),
    "minced": (("llama", "qwen2"), TermSpec(loss="minced", weight=0.5)),
    "minced-average": (("llama", "twin"), TermSpec(loss="minced", weight=0.5, options={"select": "average"})),
}
"""losses that read the output layer again, outside the forward pass that data parallelism wraps"""


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


def write(recipe: Recipe, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(recipe.model_dump_json(by_alias=True))


def run_one(folder: Path, last: int = 0) -> int:
    """Runs the worker as a single process."""
    command = [sys.executable, str(Path(__file__).with_name("double_worker.py")), str(folder), str(last)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, KILLED), done.stderr
    return done.returncode


def run_two(folder: Path, last: int = 0) -> set[int]:
    """Runs the worker as two processes."""
    ended = launch_two("double_worker", str(folder), str(last))
    assert {code for code, _ in ended} <= {0, KILLED}, "\n".join(said for _, said in ended)
    return {code for code, _ in ended}


def assert_equal(first: Path, second: Path) -> None:
    one, two = (load_file(path / "model.safetensors") for path in (first, second))
    for name in one:
        assert one[name].dtype == torch.float64
        torch.testing.assert_close(two[name], one[name], atol=ROUNDING, rtol=0)


def processes(output: Path) -> list[int]:
    return [json.loads(line)["processes"] for line in (output / "training_log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def by_loss(
    make_recipe: Callable[..., Recipe], sources: dict[str, SourceSpec], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Three steps of each loss in one process (folder "one") and in two (folder "two")."""
    folder = tmp_path_factory.mktemp("losses")
    os.environ["GLDFUSION_CACHE"] = str(folder / "maps")
    try:
        for name, (used, term) in LOSSES.items():
            recipe = make_recipe(
                sources=tuple(sources[source] for source in used),
                terms=(term,),
                optimizer="sgd",
                schedule="constant",
                batch_size=10,
                micro_batch_size=2,
            )
            for place in ("one", "two"):
                write(recipe, folder / place / f"{name}.json")
        run_one(folder / "one")
        run_two(folder / "two")
    finally:
        del os.environ["GLDFUSION_CACHE"]
    return folder


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_reads_the_output_layer_again_trains_the_same_in_two_processes(
    by_loss: Path, models: dict[str, Path], name: str
) -> None:
    one, two = by_loss / "one" / name, by_loss / "two" / name
    assert (processes(one), processes(two)) == ([1] * 3, [2] * 3)
    assert_equal(one, two)
    before, after = load_file(models["pivot"] / "model.safetensors"), load_file(one / "model.safetensors")
    assert max(float((after[n] - before[n]).abs().max()) for n in before) > 1e-3


@pytest.fixture(scope="module")
def resumable(make_recipe: Callable[..., Recipe], sources: dict[str, SourceSpec]) -> Recipe:
    """Four steps of AdamW, whose moments a resumed training needs."""
    return make_recipe(
        sources=(sources["llama"], sources["qwen2"]), steps=4, batch_size=4, micro_batch_size=1, save_every=SAVED
    )


@pytest.fixture(scope="module")
def undisturbed(resumable: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    write(resumable, folder / "out.json")
    assert run_one(folder) == 0
    return folder / "out"


@pytest.mark.parametrize("first", [2, 1])
def test_a_killed_training_goes_on_with_another_number_of_processes(
    resumable: Recipe, undisturbed: Path, tmp_path: Path, first: int
) -> None:
    write(resumable, tmp_path / "out.json")
    if first == 2:
        assert run_two(tmp_path, SAVED) == {KILLED}
        assert run_one(tmp_path) == 0
    else:
        assert run_one(tmp_path, SAVED) == KILLED
        assert run_two(tmp_path) == {0}
    assert processes(tmp_path / "out") == [first, first, 3 - first, 3 - first]
    assert_equal(undisturbed, tmp_path / "out")
