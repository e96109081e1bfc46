"""The plan of a comparison: what it counts, where its seconds come from, and what the comparison can find."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from gldbench.commands.plan import show_plan
from gldbench.jobs import Ran
from gldbench.protocol.forecast import SECONDS, forecast, note_seconds
from gldbench.report.design import power_of_design, sentences
from gldbench.schema import Row
from gldbench.spec import load_spec
from gldfusion.errors import InputError
from tests.gldbench.report.conftest import row

TOY = Path(__file__).parent / "toy.yaml"


def test_the_forecast_counts_the_jobs_that_the_toy_runs(tmp_path: Path) -> None:
    """`test_comparison` runs this spec."""
    found = forecast(load_spec(str(TOY)), tmp_path)
    assert {work.kind: work.jobs for work in found.work} == {
        "data": 3,
        "train": 6,
        "logits": 3,
        "fuse": 28 + 4,
        "evaluate": 2 * (2 + 14) + 2 + 4,
    }
    fuse = next(work for work in found.work if work.kind == "fuse")
    assert (fuse.steps, fuse.tokens) == (32 * 4, 32 * 4 * 8 * 256)
    assert (found.trials, found.worlds, found.tuning_worlds) == (4, (3, 4), (0,))
    assert found.measured.startswith("stated rates")


def test_seconds_come_from_finished_jobs_of_an_equal_world(tmp_path: Path) -> None:
    spec = load_spec(str(TOY))
    for _ in range(2):  # a second call adds to the first
        note_seconds(spec, tmp_path / "toy", Ran({"fuse a": 2.0, "fuse b": 4.0, "evaluate a": 1.0}))
    content = json.loads((tmp_path / "toy" / SECONDS).read_text())
    assert content["jobs"] == {"fuse": [4.0, 12.0], "evaluate": [2, 2.0]}
    found = forecast(spec.model_copy(update={"worlds": (7,)}), tmp_path)
    seconds = {work.kind: work.seconds / work.jobs for work in found.work}
    assert (seconds["fuse"], seconds["evaluate"]) == (3.0, 1.0)
    assert found.measured == "measured in toy; stated rates for data, train, logits"
    other = spec.model_copy(update={"fusion": spec.fusion.model_copy(update={"examples": 8})})
    assert forecast(other, tmp_path).measured.startswith("stated rates")


def validation_rows(seeds: int, worlds: int, spread: float, interaction: float) -> list[Row]:
    """Trials whose score varies by `spread` between seeds, and whose effect varies by `interaction` over worlds."""
    rng, items, rows = np.random.default_rng(0), 4000, []
    for trial in range(8):
        for world in range(worlds):
            effect = rng.normal(0, interaction)
            for seed in range(seeds):
                right = round(items * min(1, max(0, 0.5 + effect + rng.normal(0, spread))))
                rows += [
                    row(
                        variant="validation",
                        method=f"sft@{trial}",
                        world_seed=world,
                        seed=seed,
                        item=str(item),
                        value=float(item < right),
                    )
                    for item in range(items)
                ]
    return rows


@pytest.mark.slow
def test_the_power_is_that_of_the_spreads_on_the_validation_set() -> None:
    rows = validation_rows(seeds=4, worlds=2, spread=0.05, interaction=0.0)
    power = power_of_design(8, 1, 350, rows, {"world_dyck_languages": 0.0})
    assert power.measured
    assert power.seed_spread == pytest.approx(0.05, abs=0.012)
    assert power.world_spread < 0.03
    with_worlds = power_of_design(8, 2, 350, validation_rows(2, 4, 0.01, 0.1), {"world_dyck_languages": 0.0})
    assert with_worlds.world_spread == pytest.approx(0.1 * math.sqrt(2), rel=0.4)
    assert with_worlds.detectable > 3 * power.detectable


def test_without_trials_a_spread_is_assumed_and_said() -> None:
    power = power_of_design(8, 1, 350, [], {})
    assert (power.needed, power.power) == (23, pytest.approx(0.33, abs=0.01))
    assert "assumed, because there are no trials yet" in sentences(power)[0]
    assert "23 pairs find 5 points" in sentences(power)[2]
    alone = power_of_design(1, 1, 350, [], {})
    assert "cannot show any difference" in sentences(alone)[1]


def test_the_plan_is_printed_and_nothing_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(load_spec(str(TOY)), tmp_path / "toy", 2, False)
    text = capsys.readouterr().out
    assert "fused checkpoints" in text
    assert "Worlds 3, 4, tuned in worlds 0" in text
    show_plan(load_spec(str(TOY)), tmp_path / "toy", 2, True)
    found = json.loads(capsys.readouterr().out)
    assert (found["forecast"]["trials"], found["power"]["pairs"]) == (4, 4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"key": "x", "jobs": {"fuse": 3}}', '{"key": "x", "jobs": {"fuse": [0, 1]}}']
)
def test_a_damaged_file_of_seconds_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / SECONDS).write_text(text)
    with pytest.raises(InputError, match=r"toy/seconds\.json .*\ndelete this file: only forecasts use it"):
        forecast(load_spec(str(TOY)), tmp_path)
