"""Pairwise fusion trains the pivot on each source alone and averages the results; other kinds run on the same world."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gldbench.evaluate.world import training_rows
from gldbench.grade.rows import RowLabels
from gldbench.methods import METHODS, check_methods, pairwise
from gldbench.run import plan
from gldbench.schema import Environment
from gldbench.spec import Spec
from gldbench.worlds.build import fusion_sample, world_jobs
from gldfusion.errors import InputError
from tests.gldbench.methods.one_base import spec_of

TERMS = [{"loss": "uld", "weight": 0.5}]
NEEDED = {"data", "train pivot", "train source-a", "train source-b", "logits source-a", "logits source-b"}


def nothing(done: int, total: int) -> None:
    """Hears the progress."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world: its data, the pivot, and two sources with their logits."""
    folder = tmp_path_factory.mktemp("world")
    for job in world_jobs(spec_of("phi3").world, folder):
        if job.name in NEEDED:
            job.function(**job.arguments, progress=nothing)
    return folder


def made(spec: Spec, world: Path, output: Path) -> Path:
    check_methods(spec)
    method = spec.methods["made"]
    data = fusion_sample(world, 0, spec.fusion.examples, output.parent / "data.jsonl")
    return METHODS[method.kind].make(spec, method, world, data, 0, output, nothing)


def test_the_result_is_the_mean_of_what_each_source_taught(world: Path, tmp_path: Path) -> None:
    weights = {"source-a": 1.0, "source-b": 3.0}
    spec = spec_of("phi3", kind="pairwise", terms=TERMS, options={"weights": weights})
    merged = load_file(made(spec, world, tmp_path / "merged") / "model.safetensors")
    alone = {
        name: load_file(
            made(spec_of("phi3", terms=TERMS, sources=(name,)), world, tmp_path / name) / "model.safetensors"
        )
        for name in weights
    }
    assert any(not torch.equal(alone["source-a"][key], alone["source-b"][key]) for key in merged)
    for key, value in merged.items():
        expected = 0.25 * alone["source-a"][key].double() + 0.75 * alone["source-b"][key].double()
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=1e-7)
    assert not list(tmp_path.glob(".merged.parts"))
    totals = [json.loads((tmp_path / name / "training_totals.json").read_text()) for name in ("merged", *weights)]
    assert totals[0]["flops"] == totals[1]["flops"] + totals[2]["flops"]
    assert totals[0]["tokens"] == totals[1]["tokens"] + totals[2]["tokens"]
    log = (tmp_path / "merged" / "parts" / "source-a" / "training_log.jsonl").read_text()
    assert len(log.splitlines()) == spec.fusion.train.steps


def test_a_killed_call_does_not_train_twice(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("phi3", kind="pairwise", terms=TERMS)
    trained: list[str] = []
    train: Callable[..., Path] = pairwise.train.train

    def counted(*given: Any) -> Path:
        trained.append(given[5].name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(*given)

    monkeypatch.setattr(pairwise.train, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        made(spec, world, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    made(spec, world, tmp_path / "merged")
    assert trained == ["source-a", "source-b", "source-b"]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({}, "methods.made: pairwise distils each source with `terms`, and there are none"),
        ({"terms": TERMS, "sources": ("source-a",)}, "methods.made: pairwise needs at least two sources, got source-a"),
        ({"terms": TERMS, "options": {"weights": {"source-a": 1}}}, "expected a weight for each of source-a, source-b"),
        ({"terms": TERMS, "options": {"wieghts": {}}}, 'unknown key "wieghts" in methods.made.options.*"weights"'),
    ],
)
def test_refused(method: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_methods(spec_of("phi3", kind="pairwise", **method))


def test_rows_say_how_many_models_run_for_each_token(world: Path, tmp_path: Path) -> None:
    labels = RowLabels("run", "env", "world", "made", "made", 0, 0)
    spec = spec_of("phi3", kind="pairwise", terms=TERMS)
    for folder in (world / "models" / "pivot", made(spec, world, tmp_path / "merged")):
        rows = {row.metric: row.value for row in training_rows(folder, labels) if row.item == "total"}
        assert rows["inference_models"] == 1
        assert rows["seconds"] > 0


def test_the_pivot_writes_the_responses_that_the_terms_read(world: Path, tmp_path: Path) -> None:
    settings = {"every": 2, "max_tokens": 8}
    spec = spec_of("phi3", terms=TERMS, sources=("source-a",), on_policy=settings)
    folder = made(spec, world, tmp_path / "on")
    recipe = json.loads((folder / "fusion.json").read_text())["recipe"]
    assert recipe["train"]["on_policy"] == settings | {"temperature": 1.0}
    assert recipe["sources"][0]["cache"] is None
    log = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    assert log[-1]["sampling_tokens"] > 0


def test_a_method_waits_for_what_it_reads(tmp_path: Path) -> None:
    env = Environment("3", {}, "cpu", None, "cpu", {}, "id", None, None)

    def needs(**method: Any) -> set[str]:
        spec = spec_of("phi3", **method)
        worlds = {spec.world.seed: tmp_path / "world"}
        jobs = {job.name: job for job in plan(spec, tmp_path / "run", worlds, env, unsafe_code=False)}
        assert {need for job in jobs.values() for need in job.needs} <= jobs.keys()
        return set(jobs["fuse made-seed0"].needs)

    logits = {"train pivot", "logits source-a", "logits source-b"}
    experts = {"train pivot", "train specialist-a", "train specialist-b"}
    assert needs() == {"train pivot"}
    assert needs(terms=TERMS) == logits
    assert needs(kind="pairwise", terms=TERMS) == logits
    own = needs(terms=TERMS, on_policy={"every": 2, "max_tokens": 8})
    assert own == {"train pivot", "train source-a", "train source-b"}
    assert needs(kind="soup") == needs(kind="fisher") == needs(kind="dynamic_logits_fusion") == experts
    written = needs(kind="sequence_kd", sources=("source-a",))
    assert {"train pivot", "train source-a"} < written
    assert [name for name in written if name.startswith("texts source-a-")]
