"""The licences in the card of a fused checkpoint are those that the cards of its parts state."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gldfusion import licences
from gldfusion.fuse import fuse
from gldfusion.licences import licence_table, stated_licence
from gldfusion.recipe import DataPart, Recipe, SourceSpec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\n---\n# A model", "mit"),
        ("---\nlicense: [cc-by-4.0, mit]\n---\n", "cc-by-4.0, mit"),
        ("---\nlicense: other\nlicense_name: llama3\nlicense_link: LICENSE\n---\n", "other, llama3, LICENSE"),
        ("---\nlicense: a|b\n---\n", r"a\|b"),
        ("---\ntags: [x]\n---\n", "not stated"),
        ("# A model without a head", "not stated"),
        ("---\nlicense: [mit\n---\n", "not stated (its card cannot be read)"),
    ],
)
def test_what_a_card_states(tmp_path: Path, text: str, expected: str) -> None:
    card = tmp_path / "README.md"
    card.write_text(text)
    assert stated_licence(card) == expected


def test_a_card_that_is_missing_or_no_text(tmp_path: Path) -> None:
    assert stated_licence(tmp_path / "README.md") == "not stated (no card)"
    (tmp_path / "README.md").write_bytes(b"\xff\xfe\x00")
    assert stated_licence(tmp_path / "README.md") == "not stated (its card cannot be read)"


def test_a_card_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: odc-by\n---\n")
    asked: list[Any] = []

    def cached(*arguments: Any, **named: Any) -> str:
        asked.append((arguments, named))
        return str(tmp_path / "README.md")

    monkeypatch.setattr(licences, "try_to_load_from_cache", cached)
    train = {"steps": 1, "batch_size": 1, "learning_rate": 0.1}
    data = (DataPart(hub="owner/name", revision="abc"),)
    table = licence_table(Recipe.model_validate({"name": "r", "pivot": tmp_path, "data": data, "train": train}))
    assert "| data | `owner/name` | odc-by |" in table
    assert asked == [(("owner/name", "README.md"), {"revision": "abc", "repo_type": "dataset"})]


def test_the_card_of_a_fused_checkpoint(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], data_file: Path, tmp_path: Path
) -> None:
    pivot = shutil.copytree(models["pivot"], tmp_path / "pivot")
    (pivot / "README.md").write_text("---\nlicense: mit\n---\n")
    data = shutil.copy(data_file, tmp_path / "texts.jsonl")
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    source = SourceSpec(name="llama", checkpoint=models["llama"])
    output = fuse(make_recipe(pivot=pivot, data=data, sources=(source,), steps=1), tmp_path / "out")
    card = (output / "README.md").read_text()
    assert "| pivot | `pivot` | mit |\n| source | `llama` | not stated (no card) |" in card
    assert "| data | `texts.jsonl` | cc-by-4.0 |" in card
