"""The store of source logits: exactness, keys, resuming, corruption."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gldfusion.cache import SourceCache, _write_shard, build_cache
from gldfusion.errors import InputError
from gldfusion.files import hash_checkpoint, lock
from gldfusion.sources import Example, LiveSource, SequenceSignal

K, LENGTH = 6, 128


@pytest.fixture
def build(models: dict[str, Path], tmp_path: Path) -> Callable[..., int]:
    """Builds tmp_path/cache from the llama source, four texts a shard."""

    def make(examples: Sequence[Example], **changes: Any) -> int:
        settings: dict[str, Any] = {"checkpoint": models["llama"], "k": K, "max_length": LENGTH, "shard_size": 4}
        return build_cache(cache=tmp_path / "cache", examples=examples, **settings | changes)

    return make


def shards(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.glob("shard-*"))


def total_variation(a: np.ndarray, b: np.ndarray) -> float:
    """Largest over the rows of half the summed difference of their softmaxes."""
    p, q = (np.exp(x - x.max(1, keepdims=True)) for x in (a.astype(np.float64), b.astype(np.float64)))
    return float(np.abs(p / p.sum(1, keepdims=True) - q / q.sum(1, keepdims=True)).sum(1).max() / 2)


def test_reads_what_the_model_says(
    build: Callable[..., int], models: dict[str, Path], examples: list[Example], tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    assert build(examples, progress=lambda done, total: seen.append((done, total))) == 10
    assert seen == [(4, 10), (8, 10), (10, 10)]
    live, cached = LiveSource("s", models["llama"], K, LENGTH), SourceCache("s", tmp_path / "cache")
    assert (
        cached.meta["checkpoint"] == cached.checkpoint_hash == live.checkpoint_hash == hash_checkpoint(models["llama"])
    )
    assert (cached.vocabulary, cached.vocabulary_hash) == (live.vocabulary, live.vocabulary_hash)
    assert cached.starts(examples) == live.starts(examples)
    for theirs, ours in zip(live.read(examples), cached.read(examples), strict=True):
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.starts, theirs.starts)
        np.testing.assert_allclose(ours.lse - ours.values[:, 0], theirs.lse - theirs.values[:, 0], atol=4e-3)
        np.testing.assert_allclose(ours.mean - ours.values[:, 0], theirs.mean - theirs.values[:, 0], atol=8e-3)
        np.testing.assert_allclose(ours.std, theirs.std, atol=4e-3)
        assert total_variation(ours.values, theirs.values) < 1e-3


def large_logits(rows: int, k: int) -> np.ndarray:
    """[rows, k] near 30, descending, with the gaps of confident language models."""
    gaps = np.random.default_rng(0).exponential(0.25, size=(rows, k)).cumsum(axis=1) - 0.1
    return (30 - gaps).astype(np.float32)


def signal_of(values: np.ndarray) -> SequenceSignal:
    row = values[:, 0]
    ids = np.tile(np.arange(values.shape[1]) * 50_000, (len(values), 1))  # beyond 17 bits
    moments = {"lse": row + np.float32(0.1), "mean": row - np.float32(20), "std": row / np.float32(10)}
    return SequenceSignal(values, ids, **moments, starts=np.arange(len(values)))


def test_gaps_are_exact_enough_where_raw_half_precision_is_not(build: Callable[..., int], tmp_path: Path) -> None:
    """Total variation below 2e-4 at logits near 30."""
    build([])
    values = large_logits(500, 10)
    _write_shard(tmp_path / "cache", 0, [Example("x", "p", "r")], [signal_of(values)])
    stored = SourceCache("s", tmp_path / "cache", K).read([Example("y", "p", "r")])[0]
    assert total_variation(stored.values, values[:, :K]) < 2e-4
    assert total_variation(values[:, :K].astype(np.float16), values[:, :K]) > 2e-3  # what the gaps are for
    assert stored.ids.max() == (K - 1) * 50_000


def test_rows_are_found_by_content_not_by_order(
    build: Callable[..., int], examples: list[Example], tmp_path: Path
) -> None:
    build(examples)
    cached = SourceCache("s", tmp_path / "cache")
    reordered = [Example(f"new-{i}", e.prompt, e.response) for i, e in enumerate(reversed(examples))]
    for a, b in zip(cached.read(examples), reversed(cached.read(reordered)), strict=True):
        np.testing.assert_array_equal(a.values, b.values)
    unknown = Example("stranger", examples[0].prompt, examples[1].response)
    with pytest.raises(InputError, match=r"no logits for example stranger\nbuild it again with `gldbench cache`"):
        cached.read([unknown])


def test_only_missing_texts_are_run(build: Callable[..., int], examples: list[Example], tmp_path: Path) -> None:
    assert build(examples[:5]) == 5
    first = shards(tmp_path / "cache")
    assert build([*examples, *examples[:3]]) == 5
    assert set(first) < set(shards(tmp_path / "cache"))
    cached = SourceCache("s", tmp_path / "cache")
    assert len(cached.index) == 10


def test_a_whole_cache_needs_no_model(
    build: Callable[..., int], examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    build(examples)
    monkeypatch.setattr("gldfusion.cache.LiveSource", None)
    assert build(examples) == 0


def test_a_killed_build_goes_on(build: Callable[..., int], examples: list[Example], tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(examples, progress=kill)
    (tmp_path / "cache" / ".shard-00001-0123456789abcdef.safetensors.abcdefgh.part").write_bytes(b"half")
    (tmp_path / ".cache.abcdefgh.part").mkdir()
    assert build(examples) == 6
    assert len(shards(tmp_path / "cache")) == 3
    assert sorted(os.listdir(tmp_path / "cache")) == ["meta.json", *shards(tmp_path / "cache"), "tokenizer"]
    assert sorted(os.listdir(tmp_path)) == [".cache.lock", "cache"]


def test_a_full_disk_costs_one_shard(
    build: Callable[..., int], examples: list[Example], tmp_path: Path, room: Callable[[int | None], None]
) -> None:
    with pytest.raises(OSError, match=r"too large|No space"):
        build(examples, progress=lambda done, total: room(1000))
    room(None)
    assert len(shards(tmp_path / "cache")) == 1
    assert sorted(os.listdir(tmp_path / "cache")) == ["meta.json", *shards(tmp_path / "cache"), "tokenizer"]
    assert build(examples) == 6


def test_a_full_disk_at_the_start_leaves_nothing(
    build: Callable[..., int], examples: list[Example], tmp_path: Path, room: Callable[[int | None], None]
) -> None:
    room(100)
    with pytest.raises(OSError, match=r"too large|No space"):
        build(examples)
    room(None)
    assert os.listdir(tmp_path) == [".cache.lock"]


def test_a_corrupted_shard_is_named_and_rebuilt(
    build: Callable[..., int], examples: list[Example], tmp_path: Path
) -> None:
    build(examples)
    spoilt = sorted((tmp_path / "cache").glob("shard-*"))[1]
    content = bytearray(spoilt.read_bytes())
    content[-3] ^= 1
    spoilt.write_bytes(content)
    for use in (lambda: SourceCache("s", tmp_path / "cache"), lambda: build(examples)):
        with pytest.raises(InputError, match=rf"{spoilt.name} is corrupted: .*\ndelete this file and build"):
            use()
    spoilt.unlink()
    assert build(examples) == 4
    assert len(SourceCache("s", tmp_path / "cache").read(examples)) == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no cache at .*cache\nbuild it with"),
        ("{", r"meta.json cannot be read .*\ndelete the folder and build it again"),
        ('{"format": 99}', r"has format 99, this version reads 1\ndelete the folder"),
    ],
)
def test_folders_that_are_no_cache(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "meta.json").write_text(content)
    with pytest.raises(InputError, match=message):
        SourceCache("s", tmp_path / "cache")


@pytest.mark.parametrize(("change", "word"), [({"k": 5}, "k"), ({"max_length": 64}, "max_length")])
def test_another_cache_is_refused(
    build: Callable[..., int], examples: list[Example], change: dict[str, Any], word: str
) -> None:
    build(examples[:1])
    with pytest.raises(InputError, match=rf"was made with another {word} \(.*\)\nname another cache folder"):
        build(examples[:1], **change)


def test_the_cache_of_another_checkpoint_is_refused(
    build: Callable[..., int], models: dict[str, Path], examples: list[Example]
) -> None:
    build(examples[:1])
    with pytest.raises(InputError, match="was made with another checkpoint"):
        build(examples[:1], checkpoint=models["qwen2"])
    with pytest.raises(InputError, match="not a checkpoint"):
        build(examples[:1], checkpoint=models["qwen2"] / "nowhere")


def test_k(build: Callable[..., int], examples: list[Example], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="k = 351 is above the vocabulary"):
        build(examples, k=351)
    assert not (tmp_path / "cache").exists()
    build(examples[:1])
    whole, part = (SourceCache("s", tmp_path / "cache", k).read(examples[:1])[0] for k in (None, 2))
    np.testing.assert_array_equal(part.values, whole.values[:, :2])
    np.testing.assert_array_equal(part.ids, whole.ids[:, :2])
    with pytest.raises(InputError, match="asks for k = 7, its cache holds k = 6"):
        SourceCache("s", tmp_path / "cache", 7)


def test_k_may_be_one_or_the_whole_vocabulary(
    build: Callable[..., int], examples: list[Example], tmp_path: Path
) -> None:
    build(examples[:2], k=1)
    assert SourceCache("s", tmp_path / "cache").read(examples[:2])[1].values.shape[1] == 1


def test_texts_without_positions_are_stored_too(
    build: Callable[..., int], examples: list[Example], tmp_path: Path
) -> None:
    build(examples, max_length=10)
    lengths = [len(s.values) for s in SourceCache("s", tmp_path / "cache").read(examples)]
    assert min(lengths) == 0 < max(lengths)


def test_two_builders_do_not_meet(build: Callable[..., int], examples: list[Example], tmp_path: Path) -> None:
    with lock(tmp_path / ".cache.lock"), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        build(examples)


def test_meta_says_what_was_stored(build: Callable[..., int], tmp_path: Path) -> None:
    build([])
    meta = json.loads((tmp_path / "cache" / "meta.json").read_text())
    assert set(meta) == {"format", "checkpoint", "k", "max_length", "vocabulary", "vocabulary_hash"}
