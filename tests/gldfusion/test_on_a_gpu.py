"""What only a GPU shows: steps and fusions that equal the CPU's, steps that wait for nothing, and flex attention."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gldbench.benches import steps
from gldbench.benches.steps import StepSize, make_batch, make_loss, make_model, make_step
from gldfusion.fuse import fuse
from gldfusion.kernels import dispatch
from gldfusion.kernels.dispatch import Implementation
from gldfusion.model import SignalModel
from gldfusion.packing import reason_to_pad
from gldfusion.recipe import Recipe, SourceSpec, TermSpec
from tests.gldfusion.test_packing import tiny

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
SIZE = StepSize(sequences=2, length=12, width=64, layers=1, vocabulary=600, k=4, device="cuda")
TERMS = [name for name in steps.TERMS if name != "naive"]
KERNELS: tuple[Implementation, ...] = ("chunked", "triton")
ON_THE_CPU = """
import sys
from pathlib import Path
from gldfusion.fuse import fuse
from gldfusion.recipe import Recipe
fuse(Recipe.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def _one_tile_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tuner would compile twelve kernels for each kind of input."""
    from gldfusion.kernels.triton_gpu import TritonTiles  # an optional dependency

    monkeypatch.setattr(dispatch, "_triton", TritonTiles)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", TERMS)
def test_a_step_is_that_of_the_cpu(name: str, kernel: Implementation) -> None:
    """The terms of the loss and the gradients, in float32."""
    model = make_model(StepSize(2, 12, 64, 1, 600, 4, "cpu"))
    found = []
    for size, impl in ((StepSize(2, 12, 64, 1, 600, 4, "cpu"), "naive"), (SIZE, kernel)):
        copy = deepcopy(model).to(size.device)
        values = make_step(
            size, copy, make_batch(size), steps.TERMS[name], impl, torch.optim.SGD(copy.parameters(), 1)
        )()
        found.append((values.cpu(), [p.detach().cpu() for p in copy.parameters()]))
    assert (found[0][0] > 0).all()
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(found[1][1], found[0][1], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.fixture
def no_waits() -> Iterator[Callable[[], None]]:
    """Call it: from then on an operation that waits for the device fails."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", TERMS)
def test_a_step_waits_for_nothing(name: str, kernel: Implementation, no_waits: Callable[[], None]) -> None:
    """After a first step, which compiles and tunes. The layers of the model are left out: transformers may wait."""
    batch, loss = make_batch(SIZE), make_loss(SIZE, steps.TERMS[name])
    model = SignalModel(make_model(SIZE), SIZE.k, loss.needs, kernel)
    optimizer = torch.optim.AdamW(model.parameters())
    counts, base = loss.counts([batch]), model.model.base_model
    state = base(input_ids=batch.inputs.input_ids, use_cache=False)
    state.last_hidden_state = state.last_hidden_state.detach().requires_grad_()
    base.forward = lambda **_: state
    for number in range(2):
        if number == 1:
            no_waits()
        torch.stack(loss.values(model(batch.inputs), batch.sources, counts)).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def test_a_wait_is_noticed(no_waits: Callable[[], None]) -> None:
    number = torch.ones((), device="cuda")
    no_waits()
    with pytest.raises(RuntimeError, match="synchroniz"):
        number.item()


def _log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_fusion_is_that_of_the_cpu(make_recipe: Callable[..., Recipe], tmp_path: Path, kernel: str) -> None:
    """Three steps on two live sources. The checkpoint loads."""
    recipe = make_recipe(kernel=kernel, learning_rate=1e-4)
    (tmp_path / "recipe.json").write_text(make_recipe(learning_rate=1e-4).model_dump_json(by_alias=True))
    subprocess.run(
        [sys.executable, "-c", ON_THE_CPU, str(tmp_path / "recipe.json"), str(tmp_path / "cpu")],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        check=True,
    )
    fuse(recipe, tmp_path / "gpu")
    for mine, theirs in zip(_log(tmp_path / "gpu"), _log(tmp_path / "cpu"), strict=True):
        assert mine["terms"] == pytest.approx(theirs["terms"], rel=1e-3)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "gpu").lm_head is not None


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_fusion_in_bfloat16(make_recipe: Callable[..., Recipe], tmp_path: Path, kernel: str) -> None:
    """The terms are within five percent of those in float32, and sft falls."""
    logs = []
    for precision in ("no", "bf16"):
        recipe = make_recipe(kernel=kernel, steps=20, precision=precision, learning_rate=3e-3)
        logs.append(_log(fuse(recipe, tmp_path / precision)))
    first, last = logs[1][0]["terms"], logs[1][-1]["terms"]
    assert first == pytest.approx(logs[0][0]["terms"], rel=0.05)
    assert last["sft"] < first["sft"] - 0.5


def test_flex_attention_packs() -> None:
    """It gives the outputs of each text alone, so `reason_to_pad` finds no reason."""
    model = tiny("llama", {"head_dim": 16}).cuda()
    model.set_attn_implementation("flex_attention")
    assert reason_to_pad(SignalModel(model, 5), torch.device("cuda")) is None


def test_terms_on_a_source_of_another_device(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path
) -> None:
    """The source runs on the CPU beside a pivot on the GPU, and the first step is the same."""
    logs = []
    for device in ("cpu", None):
        source = SourceSpec(name="llama", checkpoint=models["llama"], device=device)
        recipe = make_recipe(sources=(source,), terms=(TermSpec(loss="uld", weight=1),))
        logs.append(_log(fuse(recipe, tmp_path / str(device)))[0]["terms"])
    assert logs[0] == pytest.approx(logs[1], rel=1e-3)
