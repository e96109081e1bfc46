"""Caches in recipes: the command line, and live and cached sources side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gldbench import cli
from gldfusion.cache import SourceCache, build_cache, cache_stat
from gldfusion.errors import InputError
from gldfusion.fuse import fuse
from gldfusion.recipe import Recipe, TermSpec
from gldfusion.sources import Example

RecipeMaker = Callable[..., Recipe]
RAW = (TermSpec(loss="uld", weight=0.5), TermSpec(loss="gld", weight=0.25, options={"values": "raw"}))
NAMED = (TermSpec(loss="minced", weight=0.5),)


def with_sources(recipe: Recipe, **changes: dict[str, Any]) -> Recipe:
    """The recipe with changes to its sources, by name."""
    sources = tuple(s.model_copy(update=changes.get(s.name, {})) for s in recipe.sources)
    return recipe.model_copy(update={"sources": sources})


def terms(checkpoint: Path) -> list[dict[str, float]]:
    return [json.loads(line)["terms"] for line in (checkpoint / "training_log.jsonl").read_text().splitlines()]


@pytest.fixture
def gldbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command line; exit code and what it printed, errors included."""

    def call(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["gldbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + (said.err if ended.value.code == 2 else "")

    return call


@pytest.fixture
def recipe_file(make_recipe: RecipeMaker, tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe whose source llama has a cache in tmp_path; keywords as for `make_recipe`."""

    def make(cached: tuple[str, ...] = ("llama",), **changes: Any) -> Path:
        changes.setdefault("terms", RAW)
        recipe = with_sources(make_recipe(**changes), **{name: {"cache": tmp_path / name} for name in cached})
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True)))
        return path

    return make


def test_a_recipes_sources_are_cached(
    gldbench: Callable[..., tuple[int, str]], recipe_file: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = recipe_file()
    assert json.loads(gldbench("cache", recipe, "--json")[1]) == {"texts": 10, "new": {"llama": 10}}
    assert gldbench("cache", recipe) == (0, "llama: 0 texts run, 10 already stored\n")
    code, said = gldbench("cache", "stat", tmp_path / "llama", "--json")
    stat = json.loads(said)
    assert code == 0
    assert {"tokens", "bytes", "bytes_per_token", "shards", "k", "ids", "coverage"} <= set(stat)
    assert (stat["k"], stat["ids"], stat["columns"], stat["texts"]) == (10, False, ["values"], 10)
    assert "bytes per token: " in gldbench("cache", "stat", tmp_path / "llama")[1]
    assert gldbench("cache", "verify", tmp_path / "llama") == (
        0,
        f"{tmp_path / 'llama'}: 1 shards read, 0 files broken\n",
    )


def test_verify_names_the_broken_shard_and_exits_1(
    gldbench: Callable[..., tuple[int, str]], recipe_file: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = recipe_file()
    gldbench("cache", recipe)
    [shard] = (tmp_path / "llama").glob("shard-*")
    shard.write_bytes(shard.read_bytes()[:-100])
    code, said = gldbench("cache", "verify", tmp_path / "llama")
    assert code == 1
    assert f"broken: {shard}: expected " in said
    assert "run `gldbench cache build RECIPE`: only the texts of this file are run again" in said
    code, said = gldbench("cache", "verify", tmp_path / "llama", "--json")
    assert (code, [fault["path"] for fault in json.loads(said)["broken"]]) == (1, [str(shard)])
    shard.unlink()
    assert gldbench("cache", recipe) == (0, "llama: 10 texts run, 0 already stored\n")
    assert gldbench("cache", "verify", tmp_path / "llama")[0] == 0


@pytest.mark.parametrize(
    ("changes", "options", "columns"),
    [
        ({}, ("--ids",), ["values", "ids"]),
        ({"terms": NAMED}, (), ["values", "ids", "lse"]),
        ({"terms": (TermSpec(loss="gld", weight=1, options={"values": "standard"}),)}, (), ["values", "mean", "std"]),
    ],
)
def test_what_the_terms_need_is_stored(
    gldbench: Callable[..., tuple[int, str]], recipe_file: Callable[..., Path], tmp_path: Path,
    changes: dict[str, Any], options: tuple[str, ...], columns: list[str],
) -> None:  # fmt: skip
    assert gldbench("cache", *options, recipe_file(**changes))[0] == 0
    assert cache_stat(tmp_path / "llama")["columns"] == columns


@pytest.mark.parametrize(
    ("arguments", "changes", "told"),
    [
        ((), {"cached": ()}, "no source of recipe test names a cache\ngive a source `cache: FOLDER`"),
        ((), {"k": "full"}, "a cache holds top-k logits: the recipe says k: full"),
        (("--workers", "0"), {}, "greater than or equal to 1"),
    ],
)
def test_mistakes(
    gldbench: Callable[..., tuple[int, str]], recipe_file: Callable[..., Path],
    arguments: tuple[str, ...], changes: dict[str, Any], told: str,
) -> None:  # fmt: skip
    code, said = gldbench("cache", recipe_file(**changes), *arguments)
    assert code == 2
    assert told in said


def test_a_folder_that_is_no_cache(gldbench: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    for verb in ("stat", "verify"):
        assert gldbench("cache", verb, tmp_path) == (
            2, f"error: no cache at {tmp_path}\nbuild it with `gldbench cache build RECIPE`\n",
        )  # fmt: skip


def test_the_help_names_every_verb() -> None:
    said = CliRunner().invoke(cli.app, ["cache", "--help"]).output
    assert all(verb in said for verb in ("gldbench cache RECIPE", "build", "verify", "stat"))


def test_live_and_cached_sources_mix(make_recipe: RecipeMaker, examples: list[Example], tmp_path: Path) -> None:
    """A values-only cache beside a live source in another precision, offloaded; three vocabularies in all."""
    plain = make_recipe(terms=RAW, learning_rate=1e-3)
    live = {source.name: source for source in plain.sources}
    build_cache(live["llama"].checkpoint, tmp_path / "llama", examples, 10, 128, columns=())
    nowhere = {"cache": tmp_path / "llama", "checkpoint": tmp_path / "nowhere"}
    mixed = with_sources(plain, llama=nowhere, qwen2={"dtype": "bfloat16", "offload": True, "device": "cpu"})
    expected = terms(fuse(plain, tmp_path / "plain"))
    for ours, theirs in zip(terms(fuse(mixed, tmp_path / "mixed")), expected, strict=True):
        assert set(ours) == {"sft", "llama/uld", "llama/gld", "qwen2/uld", "qwen2/gld"}
        for name in ("llama/uld", "llama/gld"):
            assert ours[name] == pytest.approx(theirs[name], rel=2e-3)
        for name in ("qwen2/uld", "qwen2/gld"):
            assert ours[name] == pytest.approx(theirs[name], rel=5e-2)
            assert ours[name] != theirs[name]


def test_a_cache_without_what_the_terms_need_is_refused_before_training(
    make_recipe: RecipeMaker, examples: list[Example], tmp_path: Path
) -> None:
    recipe = with_sources(make_recipe(terms=NAMED), llama={"cache": tmp_path / "llama"})
    build_cache(recipe.sources[0].checkpoint, tmp_path / "llama", examples, 10, 128, columns=("ids",))
    with pytest.raises(InputError, match=r"source llama: the recipe needs lse, its cache .* holds values, ids\n"):
        fuse(recipe, tmp_path / "out")


def test_vocabulary_terms_read_the_tokenizer_of_the_cache(
    make_recipe: RecipeMaker, examples: list[Example], tmp_path: Path
) -> None:
    """With the source's checkpoint gone."""
    plain = make_recipe(terms=NAMED, learning_rate=1e-3)
    for source in plain.sources:
        build_cache(source.checkpoint, tmp_path / source.name, examples, 10, 128)
        assert SourceCache("s", tmp_path / source.name).vocabulary_hash
    gone = {s.name: {"cache": tmp_path / s.name, "checkpoint": tmp_path / "nowhere"} for s in plain.sources}
    logs = [terms(fuse(r, tmp_path / n)) for n, r in (("live", plain), ("cached", with_sources(plain, **gone)))]
    for ours, theirs in zip(*logs, strict=True):
        assert ours == pytest.approx(theirs, rel=5e-3)
