"""Specs: the shipped ones are valid, equal ones have equal texts, and messages say how to mend a mistake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gldbench.methods import METHODS, check_methods
from gldbench.methods.method import Inputs
from gldbench.methods.train import recipe_of
from gldbench.protocol.arms import possible_methods, require_declared, resolved_methods
from gldbench.spec import SPECS, load_spec, models_of, read_spec
from gldbench.tables.definition import is_table
from gldbench.worlds.build import check_world, families_of, tokenizer_owner, world_folder
from gldbench.worlds.models import ARCHITECTURES
from gldbench.worlds.tokenizers import KINDS
from gldfusion.errors import InputError

MINI = Path(__file__).parent / "mini.yaml"


@pytest.mark.parametrize("name", sorted(p.stem for p in SPECS.glob("*.yaml") if not is_table(p)))
def test_shipped_specs_name_what_exists(name: str) -> None:
    spec = load_spec(name)
    world = spec.world
    models = models_of(world).values()
    assert {m.architecture for m in models} <= set(ARCHITECTURES)
    assert {m.tokenizer for m in models} <= {*KINDS, *models_of(world)}
    check_world(world)
    assert {m.kind for m in spec.methods.values()} <= set(METHODS)
    for methods in possible_methods(spec):
        check_methods(spec.model_copy(update={"methods": methods}))
    require_declared(spec, resolved_methods(spec, {}))


def test_one_source_of_tiny_is_near_the_pivot_and_the_others_are_not() -> None:
    world = load_spec("tiny").world
    near = [m for m in world.sources if tokenizer_owner(world, m) == "pivot"]
    assert [world.sources[m].architecture for m in near] == [world.pivot.architecture]
    far = [model for name, model in world.sources.items() if name not in near]
    for differs in ("architecture", "tokenizer", "vocabulary", "turn"):
        assert len({getattr(model, differs) for model in (world.pivot, *far)}) == 1 + len(far)
    assert {family for model in far for family in model.families} == set(families_of(world))


def test_the_control_speaks_the_pivots_tokens() -> None:
    world = load_spec(str(MINI)).world
    assert world.control is not None
    assert (world.control.tokenizer, world.control.vocabulary, world.control.turn) == (
        world.pivot.tokenizer,
        world.pivot.vocabulary,
        world.pivot.turn,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("wrong_labels:", "wrong_label:", r'unknown key "world.wrong_label".*did you mean "wrong_labels"'),
        ("micro_batch_size: 4", "micro_batchsize: 4", r'unknown key "fusion.train.micro_batchsize".*micro_batch_size'),
        ("lambda: 0.5", "lamda: 0.5", r'unknown key "methods.sft\+uld\+gld.lamda".*did you mean "lambda"'),
        ("steps: 6", "steps: -6", r"steps: Input should be greater than 0 \(got -6\)"),
        ("{sources: [control], lambda", "{sources: [contrl], lambda", r'"contrl".*did you mean "control"'),
        ("name: mini", "name: [mini", r"is not valid YAML"),
    ],
)
def test_mistakes_are_told_with_the_way_to_mend_them(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(MINI.read_text().replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        load_spec(str(path))
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda spec: spec["fusion"]["train"].update(max_length=128), "world.sources.source-a"),
        (lambda spec: spec["world"]["sources"]["source-b"]["train"].update(max_length=255), "world.sources.source-b"),
        (lambda spec: spec["world"]["control"]["train"].update(max_length=64), "world.control"),
    ],
)
def test_a_length_that_differs_from_that_of_the_stored_logits_is_refused_when_the_spec_is_read(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], place: str
) -> None:
    """Planted bug: the fusion refused the cache hours later, after the world was built."""
    spec = json.loads(json.dumps(yaml.safe_load(MINI.read_text())))  # without YAML's shared parts
    change(spec)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    with pytest.raises(
        InputError, match=rf"max_length: expected \d+, the max_length of {place}.train, got \d+"
    ) as error:
        load_spec(str(path))
    assert len(str(error.value).splitlines()) <= 3


SPECIALISTS = """
  specialists:
    specialist-x: {<<: *phi3, set: source, families: [dyck_languages], base: pivot}
methods:"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("base: pivot", "base: pivt", r'the base of specialist-x is "pivt" \(did you mean "pivot"\?\)'),
        ("base: pivot", "base: specialist-x", r"the base of specialist-x starts from specialist-x itself"),
        ("base: pivot", "base: pivot, hidden: 48", r"its hidden must be 32, got 48\ngive both the same hidden"),
        ("base: pivot", "base: source-a", r"its architecture must be llama, got phi3"),
        ("specialist-x: {", "x: {", r'begin with "specialist-", got "x"\ncall it specialist-x'),
        (
            "{sources: [control], lambda",
            "{sources: [specialist-x], lambda",
            r"specialist-x, whose logits are not stored",
        ),
    ],
)
def test_a_base_must_be_another_model_of_the_same_shape(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "spec.yaml"
    sound = MINI.read_text().replace("\nmethods:", SPECIALISTS)
    path.write_text(sound)
    assert load_spec(str(path)).world.specialists["specialist-x"].base == "pivot"
    path.write_text(sound.replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        load_spec(str(path))
    assert len(str(error.value).splitlines()) <= 3


def test_a_source_that_no_method_reads_may_have_another_length(tmp_path: Path) -> None:
    spec = json.loads(json.dumps(yaml.safe_load(MINI.read_text())))
    spec["world"]["sources"]["source-a"]["train"]["max_length"] = 64
    spec["methods"] = {"sft": {}, "sft+kl": {"sources": ["control"], "terms": [{"loss": "kl", "weight": 0.5}]}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    load_spec(str(tmp_path / "spec.yaml"))


def _changed(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A file that holds the spec "mini" after `change`."""
    content = yaml.safe_load(MINI.read_text())
    change(content)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_a_world_needs_no_control_if_no_method_learns_from_it(tmp_path: Path) -> None:
    def without_control(content: dict[str, Any]) -> None:
        del content["world"]["control"]
        content["methods"] = {"sft": {}}

    spec = read_spec(_changed(tmp_path, without_control))
    assert list(models_of(spec.world)) == ["pivot", "source-a", "source-b"]
    assert "control" not in spec.model_dump(by_alias=True)["world"]


def test_a_method_cannot_learn_from_a_control_that_the_world_lacks(tmp_path: Path) -> None:
    path = _changed(tmp_path, lambda content: content["world"].pop("control"))
    with pytest.raises(InputError, match=r'methods\.sft\+kl\.sources names "control"\nknown: source-a, source-b$'):
        read_spec(path)


def test_the_gates_name_methods_of_the_spec(tmp_path: Path) -> None:
    path = _changed(tmp_path, lambda content: content.update(gates={"across": "sft+ulb+gld"}))
    with pytest.raises(InputError, match=r'gates\.across names "sft\+ulb\+gld" \(did you mean "sft\+uld\+gld"\?\)'):
        read_spec(path)


@pytest.mark.parametrize("text", ["extends: {own}", "extends: {other}"])
def test_a_spec_that_extends_itself_is_refused(tmp_path: Path, text: str) -> None:
    own, other = tmp_path / "own.yaml", tmp_path / "other.yaml"
    own.write_text(text.format(own=own, other=other))
    other.write_text(f"extends: {own}")
    with pytest.raises(InputError, match=r"which extends it again\nname another spec"):
        load_spec(str(own))


def test_a_spec_that_extends_what_is_no_spec_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("- a")
    (tmp_path / "own.yaml").write_text(f"extends: {tmp_path / 'base.yaml'}")
    with pytest.raises(InputError, match="holds a list with 1 entries\nexpected a spec: keys with values"):
        load_spec(str(tmp_path / "own.yaml"))


def test_unknown_names_are_told() -> None:
    with pytest.raises(InputError, match=r'no spec is called "tinny" \(did you mean "tiny"\?\)'):
        load_spec("tinny")
    with pytest.raises(InputError, match="not found"):
        load_spec("nowhere/spec.yaml")


def test_a_world_is_named_by_everything_that_decides_it() -> None:
    world = load_spec(str(MINI)).world
    other = world.model_copy(update={"seed": world.seed + 1})
    assert world_folder(world, Path("w")) == world_folder(world.model_copy(), Path("w"))
    assert world_folder(world, Path("w")) != world_folder(other, Path("w"))


def test_the_stored_text_of_a_spec_does_not_change() -> None:
    """A run is resumed if its stored spec.yaml has the same text, and a world is found by its hash.

    A new field, default or order would lock out all stored runs. `GENERATION` in worlds/build.py changes the world on
    purpose.
    """
    spec = load_spec(str(MINI))
    text = yaml.safe_dump(spec.model_dump(mode="json", by_alias=True), sort_keys=False)
    assert hashlib.sha256(text.encode()).hexdigest().startswith("d7c4af3553eb")
    assert world_folder(spec.world, Path()).name == "world-e8228433f269"


def test_a_method_without_terms_reads_no_source() -> None:
    spec = load_spec(str(MINI))
    places = (Path("world"), Path("data.jsonl"), 3, "x")
    assert recipe_of(spec, spec.methods["sft"], *places).sources == ()
    fused = recipe_of(spec, spec.methods["sft+uld+gld"], *places)
    assert [s.name for s in fused.sources] == ["source-a", "source-b"]
    assert sum(s.weight for s in fused.sources) == pytest.approx(1.0)
    assert fused.train.seed == 3


def test_a_method_on_the_whole_vocabulary_runs_its_sources() -> None:
    spec = load_spec(str(MINI))
    method = spec.methods["sft+uld+gld"].model_copy(update={"k": "full"})
    fused = recipe_of(spec, method, Path("world"), Path("data.jsonl"), 3, "x")
    assert fused.k == "full"
    assert [source.cache for source in fused.sources] == [None, None]
    assert METHODS["train"].inputs(spec, method) == Inputs(("pivot", "source-a", "source-b"))
