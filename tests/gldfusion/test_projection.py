"""The projection between vocabularies, and the losses that name tokens, through the whole path of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerFast

from gldfusion.cache import build_cache
from gldfusion.errors import InputError
from gldfusion.fuse import forward, fuse
from gldfusion.model import load_tokenizer
from gldfusion.prepare import prepare
from gldfusion.projection import COLUMN, CONFIDENT, Projection, _longest_first, projection
from gldfusion.recipe import Recipe, SourceSpec, TermSpec
from gldfusion.signals import END
from gldfusion.sources import Example
from gldfusion.vocab import vocabulary

TERMS = tuple(
    TermSpec(loss=name, weight=1, options=options)
    for name, options in (
        ("gld_local", {}),
        ("gld_local", {"form": "features", "window": "all", "values": "prob"}),
        ("alm", {"temperature": 10.0}),
        ("gold", {}),
        ("shared_kd", {}),
        ("xtoken", {}),
        ("xtoken", {"form": "hkl"}),
    )
)


@pytest.fixture(autouse=True)
def maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLDFUSION_CACHE", str(tmp_path / "maps"))


@pytest.fixture(scope="module")
def tokenizers(models: dict[str, Path]) -> dict[str, PreTrainedTokenizerFast]:
    return {name: load_tokenizer(path) for name, path in models.items()}


def rows_of(found: Projection) -> dict[int, dict[int, float]]:
    """W by rows: pivot id -> source id -> weight."""
    rows: dict[int, dict[int, float]] = {}
    for v, (ids, shares) in enumerate(zip(found.ids.tolist(), found.shares.tolist(), strict=True)):
        for u, share in zip(ids, shares, strict=True):
            if u >= 0:
                rows.setdefault(u, {})[v] = share
    return rows


@pytest.mark.parametrize("source", ["llama", "qwen2"])
def test_each_token_goes_to_its_equal_or_to_its_pieces(tokenizers: Any, source: str) -> None:
    ours, theirs = vocabulary(tokenizers["pivot"]), vocabulary(tokenizers[source])
    found = projection(tokenizers["pivot"], tokenizers[source])
    rows = rows_of(found)
    known = set(theirs.bytes.values())
    equal = [u for u, text in ours.bytes.items() if text in known]
    cut = [u for u in rows if u in ours.bytes and u not in equal]
    assert len(equal) > 50
    assert len(cut) > 10 or source == "qwen2"  # qwen2 has every token of the pivot
    for u in set(equal) & set(rows):
        ((v, share),) = rows[u].items()
        assert theirs.bytes[v] == ours.bytes[u]
        assert share == 1
    for u in cut:  # a piece can be missing here if its column is full
        for v, share in rows[u].items():
            assert theirs.bytes[v] in ours.bytes[u]
            assert (share > CONFIDENT) == ours.bytes[u].startswith(theirs.bytes[v])
        assert sum(rows[u].values()) <= 1 + 1e-6
    assert {theirs.special[v] for u in ours.special for v in rows.get(u, {})} >= {"eos_token"}


def test_columns_hold_the_largest_shares(tokenizers: Any) -> None:
    found = projection(tokenizers["pivot"], tokenizers["llama"])
    assert found.ids.shape == found.shares.shape == (vocabulary(tokenizers["llama"]).size, COLUMN)
    assert (np.diff(found.shares, axis=1) <= 0).all()
    assert ((found.ids < 0) == (found.shares == 0)).all()
    confident = found.shares[:, 0] >= CONFIDENT
    assert (found.pairs[confident] == found.ids[confident, 0]).all()
    assert (found.pairs[~confident] == -1).all()
    assert confident.sum() > (found.shares[:, 0] == 1).sum() > 50


def test_tables_have_the_rows_of_the_output_layer(tokenizers: Any) -> None:
    found = projection(tokenizers["pivot"], tokenizers["llama"])
    size = len(found.pairs)
    ids, shares = found.tables(size + 5)
    assert (ids[size:] == -1).all()
    assert (shares[size:] == 0).all()
    assert found.table(size + 5)[size:].tolist() == [-1] * 5
    assert found.table(10).tolist() == found.pairs[:10].tolist()


def test_the_longest_token_that_fits() -> None:
    words = {b"a": 1, b"ab": 2, b"bc": 3, b"c": 4}
    assert _longest_first(b"abc", words) == [2, 4]
    assert _longest_first(b"abx", words) == []
    assert _longest_first(b"", words) == []


def test_a_projection_is_saved_and_a_broken_one_is_named(tokenizers: Any, tmp_path: Path) -> None:
    first = projection(tokenizers["pivot"], tokenizers["llama"], tmp_path)
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    again = projection(tokenizers["pivot"], tokenizers["llama"], tmp_path)
    assert path.stat().st_mtime_ns == before
    for name in ("ids", "shares", "pairs"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    path.write_bytes(b"broken")
    with pytest.raises(InputError, match="delete it and try again"):
        projection(tokenizers["pivot"], tokenizers["llama"], tmp_path)


def test_every_term_through_the_whole_path(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path
) -> None:
    """Sources of two other tokenizers and one of the pivot's own; the training runs and resumes from nothing."""
    sources = tuple(SourceSpec(name=name, checkpoint=models[name]) for name in ("llama", "qwen2", "twin"))
    recipe = make_recipe(sources=sources, terms=TERMS)
    fusion = prepare(recipe, Accelerator(cpu=True), tmp_path / ".state")
    batch = fusion.data.batch(range(10))
    values = forward(fusion, fusion.model, batch, fusion.loss.counts([batch]))
    assert len(values) == 1 + 3 * len(TERMS)
    assert all(value.isfinite() and value > 0 for value in values)
    fuse(recipe, tmp_path / "out")


def test_a_source_that_is_the_pivot_gives_no_loss(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path
) -> None:
    recipe = make_recipe(sources=(SourceSpec(name="self", checkpoint=models["pivot"]),), terms=TERMS)
    fusion = prepare(recipe, Accelerator(cpu=True), tmp_path / ".state")
    batch = fusion.data.batch(range(10))
    values = forward(fusion, fusion.model, batch, fusion.loss.counts([batch]))
    for name, value in zip(fusion.loss.names[1:], values[1:], strict=True):
        assert value.item() == pytest.approx(0, abs=2e-5), name


def test_cached_and_live_sources_agree(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], examples: list[Example], tmp_path: Path
) -> None:
    """The cache stores the likelihood of every label, in four bytes."""
    build_cache(models["llama"], tmp_path / "cache", examples, 10, 128)
    values = []
    for spec in ({"checkpoint": models["llama"]}, {"checkpoint": tmp_path / "gone", "cache": tmp_path / "cache"}):
        recipe = make_recipe(sources=(SourceSpec.model_validate({"name": "llama"} | spec),), terms=TERMS)
        fusion = prepare(recipe, Accelerator(cpu=True), tmp_path / ".state")
        batch = fusion.data.batch(range(10))
        values.append(torch.stack(forward(fusion, fusion.model, batch, fusion.loss.counts([batch]))))
    torch.testing.assert_close(values[0], values[1], rtol=3e-3, atol=1e-4)


def test_batches_mark_the_ends_of_texts_that_are_not_cut_off(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path
) -> None:
    sources = (SourceSpec(name="llama", checkpoint=models["llama"]),)
    for length, marked in ((128, 10), (24, None)):
        recipe = make_recipe(sources=sources, terms=TERMS[2:3], max_length=length)
        fusion = prepare(replace_coverage(recipe), Accelerator(cpu=True), tmp_path / ".state")
        usable = fusion.data.usable.tolist()
        pairs = fusion.data.batch(usable).sources["llama"][1]
        ends = (pairs == END).all(-1).sum(-1)
        assert ends.max() <= 1
        cut = [fusion.data.encoded[i].truncated for i in usable]
        if marked is None:
            assert any(cut)
            assert not any(end and was for end, was in zip(ends.tolist(), cut, strict=True))
        else:
            assert ends.sum() == marked


def replace_coverage(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"min_coverage": 0.0})


def test_the_pivots_own_names_are_marked(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path
) -> None:
    """`mapped` of the pivot's signal names exactly the ids to which a token of the source is mapped."""
    sources = tuple(SourceSpec(name=name, checkpoint=models[name]) for name in ("llama", "twin"))
    terms = (TermSpec(loss="gold", weight=1),)
    fusion = prepare(make_recipe(sources=sources, terms=terms), Accelerator(cpu=True), tmp_path / ".state")
    pivot = fusion.model(fusion.data.batch(range(10)).inputs)
    ids = torch.arange(pivot.vocabulary).expand(1, 1, -1)
    everything = replace(pivot, ids=ids)
    found = {term.source: fusion.loss._marked(term, everything).need("mapped")[0, 0] for term in fusion.loss.terms}
    table = set(fusion.loss.maps["llama/gold"].tolist()) - {-1}
    assert found["llama"].tolist() == [i if i in table else -1 for i in range(pivot.vocabulary)]
    tokens = fusion.loss.tokens["twin"]
    assert found["twin"].tolist() == [i if i < tokens else -1 for i in range(pivot.vocabulary)]
