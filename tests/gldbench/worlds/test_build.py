"""Building a world: its families, its data, and models that share a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gldbench.spec import ModelSpec, WorldSpec
from gldbench.worlds.build import check_world, families_of, make_data, read_set, train_model, world_folder
from gldbench.worlds.families import FAMILIES
from gldbench.worlds.sets import SETS, TRAINING_SETS
from gldfusion.errors import InputError
from gldfusion.model import load_tokenizer, vocabulary_hash
from gldfusion.recipe import TrainSpec

FAMILY_NAMES = ("dyck_languages", "object_counting")


def silent(done: int, total: int) -> None:
    pass


def model(tokenizer: str, set_name: str, *families: str, **parts: tuple[str, ...]) -> ModelSpec:
    return ModelSpec(
        architecture="phi3",
        tokenizer=tokenizer,
        vocabulary=300,
        turn=("<u>", "<a>"),
        hidden=16,
        layers=1,
        heads=2,
        intermediate=24,
        set=set_name,  # pyright: ignore[reportArgumentType]
        families=families,
        parts=parts,
        examples=20,
        train=TrainSpec(steps=2, batch_size=4, learning_rate=1e-3, max_length=128),
    )


def world(**changes: object) -> WorldSpec:
    given = {
        "seed": 3,
        "families": FAMILY_NAMES,
        "sets": {"source": 30, "pivot": 20, "fusion": 10, "validation": 4, "test": 4, "harder": 2},
        "wrong_labels": 0.4,
        "k": 4,
        "pivot": model("byte-bpe", "pivot"),
        "sources": {"near": model("pivot", "source", "dyck_languages"), "far": model("gpt2-bpe", "source")},
    }
    return WorldSpec.model_validate(given | changes)


def test_a_world_has_only_its_families(tmp_path: Path) -> None:
    make_data(world(), tmp_path, silent)
    for name in SETS:
        assert {i.family for i in read_set(tmp_path, name)} == set(FAMILY_NAMES)
    lines = [json.loads(line) for line in (tmp_path / "data" / "fusion.jsonl").read_text().splitlines()]
    assert [line["group"] for line in lines] == [line["id"].partition("/")[0] for line in lines]
    assert sum(line["wrong"] for line in lines) == 8
    near = [json.loads(line)["id"] for line in (tmp_path / "data" / "train-near.jsonl").read_text().splitlines()]
    assert sum(name.startswith("dyck_languages/") for name in near) == 14


def test_a_model_knows_some_parts_of_a_family(tmp_path: Path) -> None:
    """Its texts are limited to them; those of the other models, and all sets, are not."""
    spec = world(
        pivot=model("byte-bpe", "pivot", dyck_languages=("2",)), sets={"pivot": 40, "source": 30, "fusion": 10}
    )
    make_data(spec, tmp_path, silent)
    part = FAMILIES["dyck_languages"].part
    assert part is not None
    for name, found in (("pivot", {"2"}), ("far", {"2", "4"})):
        lines = [json.loads(line) for line in (tmp_path / "data" / f"train-{name}.jsonl").read_text().splitlines()]
        ids = {line["id"] for line in lines}
        instances = [i for i in read_set(tmp_path, "pivot" if name == "pivot" else "source") if i.id in ids]
        assert {part(i) for i in instances if i.family == "dyck_languages"} == found
        assert len(lines) == 20


def test_a_world_without_families_has_all() -> None:
    assert families_of(world(families=())) == tuple(FAMILIES)
    assert "families" not in world(families=()).model_dump(mode="json")
    assert world_folder(world(), Path()) != world_folder(world(families=()), Path())


def test_other_families_do_not_change_the_data_of_a_family(tmp_path: Path) -> None:
    make_data(world(), tmp_path / "two", silent)
    make_data(world(families=FAMILY_NAMES[:1], sources={}), tmp_path / "one", silent)
    for name in (*TRAINING_SETS, "test"):
        two = [i for i in read_set(tmp_path / "two", name) if i.family == FAMILY_NAMES[0]]
        assert read_set(tmp_path / "one", name) == two


def test_a_model_shares_the_tokenizer_that_it_names(tmp_path: Path) -> None:
    spec = world()
    make_data(spec, tmp_path, silent)
    for name in ("near", "pivot", "far"):
        train_model(spec, tmp_path, name, silent)
    hashes = {name: vocabulary_hash(load_tokenizer(tmp_path / "models" / name)) for name in ("near", "pivot", "far")}
    assert hashes["near"] == hashes["pivot"] != hashes["far"]
    weights = {name: (tmp_path / "init" / name / "model.safetensors").read_bytes() for name in ("near", "pivot")}
    assert weights["near"] != weights["pivot"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"families": ("dyck_language",)},
            r'no task family is called "dyck_language" \(did you mean "dyck_languages"\?\)',
        ),
        ({"families": FAMILY_NAMES[1:]}, r'no task family of this world is called "dyck_languages"'),
        (
            {"pivot": model("byte-bpe", "pivot", dyck_languages=("3",))},
            r'no part of dyck_languages is called "3".*\nknown: 2, 4',
        ),
        (
            {"families": tuple(FAMILIES), "pivot": model("byte-bpe", "pivot", multistep_arithmetic=("2",))},
            "parts: multistep_arithmetic has none\nlimit",
        ),
        (
            {"pivot": model("byte-bpe", "pivot", list_functions=("take",))},
            'no task family of this world is called "list',
        ),
        ({"pivot": model("near", "pivot")}, "pivot shares the tokenizer of near, which shares that of pivot\nname a"),
    ],
)
def test_wrong_names_are_found_before_anything_is_made(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_world(world(**changes))
