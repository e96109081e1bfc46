"""Sequence-level distillation: the sources write, once for all seeds, and the pivot reads only what they wrote."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gldbench.generate.checkpoint import open_checkpoint
from gldbench.generate.generate import BACKENDS
from gldbench.methods import METHODS, check_methods
from gldbench.methods.sequence_kd import before, place_of, written
from gldbench.spec import Spec
from gldfusion.errors import InputError
from gldfusion.manifest import verify_manifest
from tests.gldbench.methods.one_base import Family, spec_of

PROMPTS = {f"dyck-{i}": f"({c}" for i, c in enumerate("abcd")}
FOLLOWS = {"a": "b", "b": "c", "c": "d"}


def nothing(done: int, total: int) -> None:
    """Hears the progress."""


def spec_with(**method: Any) -> Spec:
    spec = spec_of(kind="sequence_kd", **method)
    check_methods(spec)
    return spec


@pytest.fixture
def world(family: Family, chain: Callable[..., Path], tmp_path: Path) -> Path:
    """Two sources: one spells the alphabet up to d, the other one writes a question mark and never stops."""
    folder = tmp_path / "world"
    (folder / "models").mkdir(parents=True)
    shutil.copytree(family("llama") / "models" / "pivot", folder / "models" / "pivot")
    shutil.move(chain(FOLLOWS), folder / "models" / "source-a")
    shutil.move(chain({"a": "?", "?": "?"}), folder / "models" / "source-b")
    (folder / "data").mkdir()
    lines = [
        {"family": "dyck_languages", "difficulty": 1, "id": id_, "prompt": prompt}
        | {"rationale": "", "answer": "wrong", "canonical": id_, "tests": []}
        for id_, prompt in PROMPTS.items()
    ]
    (folder / "data" / "set-fusion.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A sample of the fusion set."""
    path = tmp_path / "run" / "data" / "fusion-seed0.jsonl"
    path.parent.mkdir(parents=True)
    lines = [{"id": id_, "prompt": prompt, "response": "wrong", "wrong": True} for id_, prompt in PROMPTS.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_all(spec: Spec, world: Path) -> None:
    for job in before(spec, spec.methods["made"], world):
        if not job.done():
            job.function(**job.arguments, progress=nothing)
        assert job.done()


def make(spec: Spec, world: Path, sample: Path, output: Path) -> Path:
    return METHODS["sequence_kd"].make(spec, spec.methods["made"], world, sample, 0, output, nothing)


def test_the_pivot_is_trained_on_what_the_sources_wrote(world: Path, sample: Path, tmp_path: Path) -> None:
    spec = spec_with()
    write_all(spec, world)
    output = make(spec, world, sample, tmp_path / "run" / "made-seed0")
    lines = [json.loads(line) for line in (sample.parent / "made-seed0.jsonl").read_text().splitlines()]
    found = {line["id"]: line["response"] for line in lines}
    own = {"dyck-0/source-a": "bcd", "dyck-1/source-a": "cd", "dyck-2/source-a": "d", "dyck-3/source-a": ""}
    assert found == own | {f"dyck-{i}/source-b": "" for i in (1, 2, 3)}, "the endless response is left out"
    assert {line["prompt"] for line in lines} == set(PROMPTS.values())
    record = json.loads((output / "fusion.json").read_text())
    assert record["recipe"]["terms"] == []
    assert record["recipe"]["sources"] == []
    verify_manifest(output, "fused checkpoint", "make it again")


def test_the_cost_of_writing_is_counted(world: Path, sample: Path, tmp_path: Path) -> None:
    spec = spec_with()
    write_all(spec, world)
    output = make(spec, world, sample, tmp_path / "run" / "made-seed0")
    totals = json.loads((output / "training_totals.json").read_text())
    places = [place_of(spec, spec.methods["made"], world, name) for name in ("source-a", "source-b")]
    costs = [json.loads((place / "totals.json").read_text()) for place in places]
    for name in ("seconds", "tokens", "flops"):
        assert totals[f"source_{name}"] == pytest.approx(sum(cost[name] for cost in costs))
        assert totals[f"source_{name}"] > 0
    assert totals["flops"] > 0


def test_sources_write_once_for_all_seeds_and_greedily_what_evaluation_would_see(world: Path) -> None:
    spec = spec_with()
    write_all(spec, world)
    jobs = before(spec, spec.methods["made"], world)
    assert all(job.done() for job in jobs)
    place = place_of(spec, spec.methods["made"], world, "source-a")
    lines = [json.loads(line) for line in (place / "responses.jsonl").read_text().splitlines()]
    answers = BACKENDS["hf"](open_checkpoint(world / "models" / "source-a"), "cpu", 8).complete(
        list(PROMPTS.values()), spec.evaluation.max_tokens, []
    )
    assert {line["id"]: line["response"] for line in lines} == {
        id_: answer.text for id_, answer in zip(PROMPTS, answers, strict=True)
    }
    drawn = spec_with(options={"temperature": 0.7, "seed": 3})
    assert not any(job.done() for job in before(drawn, drawn.methods["made"], world))
    other = spec_with(options={"seed": 3})
    assert all(job.done() for job in before(other, other.methods["made"], world)), "greedy decoding reads no seed"


def test_a_training_that_was_finished_before_a_kill_is_not_repeated(
    world: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, output = spec_with(), tmp_path / "run" / "made-seed0"
    write_all(spec, world)

    rename = os.rename

    def killed(source: Path, target: Path) -> None:
        if target == output:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            make(spec, world, sample, output)
    assert not output.exists()
    (before_it,) = output.parent.glob(".made-seed0.trained")
    written_at = os.stat(before_it / "model.safetensors").st_mtime_ns
    make(spec, world, sample, output)
    assert os.stat(output / "model.safetensors").st_mtime_ns == written_at
    verify_manifest(output, "fused checkpoint", "make it again")


def test_one_source_for_each_prompt(sample: Path) -> None:
    responses = {name: dict.fromkeys(PROMPTS, name) for name in ("x", "y")} | {"z": {"dyck-0": "z"}}
    everything = written(sample, responses, "all", 0)
    assert len(everything) == 2 * len(PROMPTS) + 1
    one = written(sample, responses, "one", 0)
    assert [example["prompt"] for example in one] == list(PROMPTS.values())
    assert {example["response"] for example in one} <= {"x", "y", "z"}
    draws = {tuple(e["response"] for e in written(sample, responses, "one", seed)) for seed in range(20)}
    assert len(draws) > 10
    assert one == written(sample, responses, "one", 0)


def test_sources_that_never_finish_are_refused(world: Path, sample: Path, tmp_path: Path) -> None:
    sample.write_text(sample.read_text().splitlines()[0] + "\n")
    spec = spec_with(sources=("source-b",))
    write_all(spec, world)
    with pytest.raises(InputError, match="no source finished a response within 12 tokens"):
        make(spec, world, sample, tmp_path / "run" / "made-seed0")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"terms": [{"loss": "uld", "weight": 1}]}, 'methods.made.terms: a method of kind "sequence_kd" does not read'),
        ({"options": {"mix": "some"}}, r"methods.made.options: mix: Input should be 'all' or 'one' \(got 'some'\)"),
        ({"options": {"temperature": -1}}, "temperature: Input should be greater than or equal to 0"),
    ],
)
def test_refused(method: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        spec_with(**method)
