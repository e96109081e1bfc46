"""What a recipe refuses, and in which words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gldfusion.errors import InputError
from gldfusion.objective import TotalLoss
from gldfusion.recipe import DataPart, Recipe, SourceSpec, TermSpec, load_recipe, validate
from gldfusion.recipe_paths import check_cache_paths, check_paths


def settings() -> dict[str, Any]:
    return {
        "name": "r",
        "pivot": "models/pivot",
        "data": "/data/texts.jsonl",
        "sources": [{"name": "a", "checkpoint": "models/a", "cache": "../cache/a"}, {"name": "b", "checkpoint": "b"}],
        "terms": [{"loss": "uld", "weight": 0.5}],
        "lambda": 0.3,
        "train": {"steps": 10, "batch_size": 4, "learning_rate": 1e-3},
    }


def written(folder: Path, content: str | dict[str, Any]) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_relative_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, settings()))
    assert recipe.pivot == tmp_path / "models/pivot"
    assert recipe.data == (DataPart(path=Path("/data/texts.jsonl")),)
    assert recipe.sources[0].cache == tmp_path / "../cache/a"
    assert recipe.sources[1].cache is None
    assert recipe.lambda_ == 0.3


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The settings with one of them set or, with None, taken away."""
    whole = inner = settings()
    for step in place[:-1]:
        inner = inner[step]
    if value is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return whole


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("steps",), 3, r'unknown key "steps" in .*recipe.yaml'),
        (("lamda",), 0.1, r'unknown key "lamda".*\(did you mean "lambda"\?\)'),
        (("train", "learning_rat"), 1, r'unknown key "train.learning_rat".*did you mean "learning_rate"'),
        (("sources", 1, "checkpont"), "x", r'unknown key "sources.1.checkpont".*did you mean "checkpoint"'),
        (("terms", 0, "wieght"), 1, r'unknown key "terms.0.wieght".*did you mean "weight"'),
        (("train", "zzz"), 1, r"known keys here: steps, epochs, batch_size"),
        (("pivot",), None, r'recipe.yaml has no "pivot": it must be given'),
        (("train", "steps"), None, r"train needs either `steps` or `epochs`"),
        (("train", "steps"), 0, r"train.steps: Input should be greater than 0 \(got 0\)"),
        (("train", "precision"), "fp16", r"train.precision: Input should be 'no' or 'bf16'"),
        (("lambda",), 1.5, r"lambda: .*less than or equal to 1 \(got 1.5\)"),
        (("k",), 0, r": k: expected a whole number above 0, or full \(got 0\)"),
        (("k",), "all", r": k: expected a whole number above 0, or full \(got 'all'\)"),
        (("sources", 1, "name"), "a", r"every source needs a name of its own, got a, a"),
        (("sources",), None, r"terms compare the pivot with sources: name at least one"),
        (("sources", 0, "control"), "shuffle", r"sources.0.control: Input should be 'none', 'shuffled'"),
    ],
)
def test_bad_settings(tmp_path: Path, place: tuple[Any, ...], value: Any, message: str) -> None:
    path = written(tmp_path, changed(place, value))
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(path)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_misspelt_key_is_named_before_the_one_that_it_leaves_missing(tmp_path: Path) -> None:
    bad = settings()
    bad["pivto"] = bad.pop("pivot")
    with pytest.raises(InputError, match=r'unknown key "pivto".*did you mean "pivot"'):
        load_recipe(written(tmp_path, bad))


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"recipe not found: expected a file at .*nowhere.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")
    with pytest.raises(InputError, match=r"recipe.yaml is not valid YAML: .*line 1"):
        load_recipe(written(tmp_path, "a: [1, 2"))
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8 text"):
        load_recipe(tmp_path / "recipe.yaml")
    for text in ("just text", "", "[1, 2]"):
        with pytest.raises(InputError, match="the whole file: Input should be a valid dictionary"):
            load_recipe(written(tmp_path, text))


def test_a_recipe_cannot_be_changed() -> None:
    recipe = validate(Recipe, settings(), "here")
    with pytest.raises(ValueError, match="frozen"):
        recipe.k = 3


def test_terms_of_a_recipe(make_recipe: Callable[..., Recipe]) -> None:
    twice = (TermSpec(loss="gld", weight=1), TermSpec(loss="gld", weight=2, options={"values": "raw"}))
    loss = TotalLoss(make_recipe(terms=(*twice, TermSpec(loss="uld", weight=0))))
    assert loss.names == ("sft", "llama/gld", "qwen2/gld", "llama/gld-2", "qwen2/gld-2")
    assert [term.weight for term in loss.terms] == [0.75, 0.25, 1.5, 0.5]
    assert loss.sft_weight == pytest.approx(0.8)
    with pytest.raises(InputError, match="unknown loss 'gdl'"):
        TotalLoss(make_recipe(terms=(TermSpec(loss="gdl", weight=1),)))
    with pytest.raises(InputError, match="sft compares with no source"):
        TotalLoss(make_recipe(terms=(TermSpec(loss="sft", weight=1),)))


NOWHERE = Path("/nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": NOWHERE}, "recipe key data: training data not found: expected a file at /nowhere"),
        ({"pivot": NOWHERE}, "recipe key pivot: not a checkpoint: /nowhere is not a folder"),
        (
            {"sources": (SourceSpec(name="a", checkpoint=NOWHERE),)},
            'recipe key checkpoint of the source "a": not a checkpoint: /nowhere',
        ),
        (
            {"sources": (SourceSpec(name="a", checkpoint=NOWHERE, cache=NOWHERE / "cache"),)},
            r'recipe key cache of the source "a": no cache at /nowhere/cache\nbuild it with',
        ),
    ],
)
def test_missing_paths(make_recipe: Callable[..., Recipe], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_paths(make_recipe(**changes))
    assert len(str(caught.value).splitlines()) <= 3


def test_paths_that_are_not_read_need_not_exist(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    check_paths(make_recipe())
    unused = SourceSpec(name="a", checkpoint=NOWHERE, weight=0)
    check_paths(make_recipe(sources=(unused,)))
    unread = SourceSpec(name="a", checkpoint=NOWHERE)
    check_paths(make_recipe(sources=(unread,), terms=(TermSpec(loss="uld", weight=0),)))
    (tmp_path / "meta.json").touch()
    check_paths(make_recipe(sources=(SourceSpec(name="a", checkpoint=NOWHERE, cache=tmp_path),)))


def test_caches_are_built_from_data_and_checkpoints(
    make_recipe: Callable[..., Recipe], models: dict[str, Path]
) -> None:
    sources = (
        SourceSpec(name="a", checkpoint=models["llama"], cache=NOWHERE),
        SourceSpec(name="live", checkpoint=NOWHERE),
    )
    check_cache_paths(make_recipe(pivot=NOWHERE, sources=sources))
    missing = sources[0].model_copy(update={"checkpoint": NOWHERE})
    with pytest.raises(InputError, match=r'recipe key checkpoint of the source "a": not a checkpoint: /nowhere'):
        check_cache_paths(make_recipe(sources=(missing,)))


def test_a_recipe_is_checked_without_torch(tmp_path: Path) -> None:
    """Torch and transformers take seconds to import; a wrong path should not wait for them."""
    script = """
import sys
from pathlib import Path
from gldfusion.errors import InputError
from gldfusion.recipe import load_recipe
from gldfusion.recipe_paths import check_cache_paths, check_paths
recipe = load_recipe(Path(sys.argv[1]))
for check in (check_paths, check_cache_paths):
    try:
        check(recipe)
    except InputError as error:
        print(error)
assert not {"torch", "transformers"} & set(sys.modules)
"""
    command = [sys.executable, "-c", script, str(written(tmp_path, settings()))]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.count("recipe key data: training data not found: expected a file at /data/texts.jsonl") == 2
