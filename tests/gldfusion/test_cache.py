"""The store of source logits: exactness, keys, columns, resuming, corruption."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gldfusion.cache import SourceCache, build_cache, cache_stat, verify_cache
from gldfusion.cache.columns import (
    OPTIONAL,
    needed_columns,
    pack_ids,
    pack_signals,
    pack_starts,
    unpack_ids,
    unpack_starts,
)
from gldfusion.cache.shards import open_shard, write_shard
from gldfusion.cache.store import cached_tokenizer, read_meta, row_key
from gldfusion.chat import RULES
from gldfusion.errors import InputError
from gldfusion.hashes import hash_checkpoint, hash_parts
from gldfusion.manifest import change_manifest
from gldfusion.model import load_tokenizer
from gldfusion.sources import Example, LiveSource, SequenceSignal

K, LENGTH = 6, 128


@pytest.fixture
def build(models: dict[str, Path], tmp_path: Path) -> Callable[..., int]:
    """Builds tmp_path/cache from the llama source, four texts a shard."""

    def make(examples: Sequence[Example], **changes: Any) -> int:
        settings: dict[str, Any] = {"checkpoint": models["llama"], "cache": tmp_path / "cache", "k": K}
        settings |= {"max_length": LENGTH, "shard_size": 4}
        return build_cache(examples=examples, **settings | changes)

    return make


def shards(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.glob("shard-*"))


def files(cache: Path) -> list[str]:
    """What a sound cache holds."""
    return [".claims", ".manifest.lock", "manifest.json", "meta.json", *shards(cache), "tokenizer.zip"]


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
    text = examples[3].response
    assert cached_tokenizer(tmp_path / "cache")(text) == load_tokenizer(models["llama"])(text)
    for theirs, ours in zip(live.read(examples), cached.read(examples), strict=True):
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.starts, theirs.starts)
        for name, tolerance in (("lse", 4e-3), ("mean", 8e-3)):
            mine, other = (getattr(s, name) - s.values[:, 0] for s in (ours, theirs))
            np.testing.assert_allclose(mine, other, atol=tolerance)
        np.testing.assert_allclose(ours.std, theirs.std, atol=4e-3)  # pyright: ignore[reportArgumentType]
        np.testing.assert_allclose(ours.nll, theirs.nll, rtol=1e-4, atol=1e-5)  # pyright: ignore[reportArgumentType]
        assert total_variation(ours.values, theirs.values) < 1e-3


def large_logits(rows: int, k: int) -> np.ndarray:
    """[rows, k] near 30, descending, with the gaps of confident language models."""
    gaps = np.random.default_rng(0).exponential(0.25, size=(rows, k)).cumsum(axis=1) - 0.1
    return (30 - gaps).astype(np.float32)


def signal_of(values: np.ndarray) -> SequenceSignal:
    row = values[:, 0]
    ids = np.tile(np.arange(values.shape[1]), (len(values), 1))
    moments = {"lse": row + np.float32(0.1), "mean": row - np.float32(20), "std": row / np.float32(10)}
    moments["nll"] = np.abs(row)
    return SequenceSignal(values, ids, **moments, starts=np.arange(len(values)))


def test_gaps_are_exact_enough_where_raw_half_precision_is_not(build: Callable[..., int], tmp_path: Path) -> None:
    """Total variation below 2e-4 at logits near 30."""
    build([], k=10)
    values = large_logits(500, 10)
    add(tmp_path / "cache", Example("x", "p", "r"), signal_of(values))
    for k in (10, K):
        stored = SourceCache("s", tmp_path / "cache", k).read([Example("y", "p", "r")])[0]
        assert total_variation(stored.values, values[:, :k]) < 2e-4
        assert total_variation(values[:, :k].astype(np.float16), values[:, :k]) > 2e-3  # what the gaps are for


def add(cache: Path, example: Example, signal: SequenceSignal) -> Path:
    """Stores one text, as a builder does."""
    meta = read_meta(cache)
    return write_shard(
        cache, pack_signals([row_key(meta["content"], example)], [signal], meta["columns"], meta["vocabulary"])
    )


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
        cached.read([*examples, unknown])


def test_only_missing_texts_are_run(build: Callable[..., int], examples: list[Example], tmp_path: Path) -> None:
    assert build(examples[:5]) == 5
    first = shards(tmp_path / "cache")
    assert build([*examples, *examples[:3]]) == 5
    assert set(first) < set(shards(tmp_path / "cache"))
    cached = SourceCache("s", tmp_path / "cache")
    assert len(cached) == 10


def test_a_whole_cache_needs_no_model(
    build: Callable[..., int], examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    build(examples)
    monkeypatch.setattr("gldfusion.cache.build.LiveSource", None)
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
    assert sorted(os.listdir(tmp_path / "cache")) == files(tmp_path / "cache")
    assert sorted(os.listdir(tmp_path)) == [".cache.lock", "cache"]


def test_a_full_disk_costs_one_shard(
    build: Callable[..., int], examples: list[Example], tmp_path: Path, room: Callable[[int | None], None]
) -> None:
    with pytest.raises(OSError, match=r"too large|No space"):
        build(examples, progress=lambda done, total: room(1000))
    room(None)
    assert len(shards(tmp_path / "cache")) == 1
    assert sorted(os.listdir(tmp_path / "cache")) == files(tmp_path / "cache")
    assert build(examples) == 6


def test_a_full_disk_at_the_start_leaves_nothing(
    build: Callable[..., int], examples: list[Example], tmp_path: Path, room: Callable[[int | None], None]
) -> None:
    room(100)
    with pytest.raises(OSError, match=r"too large|No space"):
        build(examples)
    room(None)
    assert os.listdir(tmp_path) == [".cache.lock"]


def flipped(content: bytes, at: int = -3) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


SHARD_DAMAGE = {
    "flipped bit": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", SHARD_DAMAGE)
def test_a_damaged_shard_is_named_and_its_texts_are_run_again(
    build: Callable[..., int], examples: list[Example], tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    build(examples)
    assert verify_cache(tmp_path / "cache") == (3, [])
    spoilt = tmp_path / "cache" / shards(tmp_path / "cache")[1]
    lost = len(open_shard(spoilt, read_meta(tmp_path / "cache")).columns["keys"])
    SHARD_DAMAGE[kind](spoilt)
    [fault] = verify_cache(tmp_path / "cache")[1]
    assert fault.path == str(spoilt)
    assert fault.problem.startswith("expected ")
    assert "`gldbench cache build RECIPE`: only the texts of this file are run again" in fault.mend
    with pytest.raises(InputError, match=rf"{spoilt.name} cannot be used: expected .*\nrun `gldbench cache build"):
        SourceCache("s", tmp_path / "cache")
    assert build(examples) == lost
    assert [str(spoilt) in record.getMessage() for record in caplog.records] == [True]
    assert spoilt.is_file()  # of the same content
    assert verify_cache(tmp_path / "cache") == (3, [])
    assert len(SourceCache("s", tmp_path / "cache").read(examples)) == 10


@pytest.mark.parametrize("name", ["meta.json", "tokenizer.zip"])
def test_a_damaged_file_beside_the_shards_is_named(
    build: Callable[..., int], examples: list[Example], tmp_path: Path, name: str
) -> None:
    build(examples)
    path = tmp_path / "cache" / name
    whole = path.read_bytes()
    edited = whole.replace(b'"vocabulary": 350', b'"vocabulary": 351')
    for content in {flipped(whole, 40), whole[:-5], edited} - {whole}:
        path.write_bytes(content)
        try:
            assert Path(verify_cache(tmp_path / "cache")[1][0].path).name == name
        except InputError as error:  # meta.json is no JSON
            assert name in str(error)  # noqa: PT017
        for use in (lambda: SourceCache("s", tmp_path / "cache"), lambda: build(examples)):
            with pytest.raises(InputError, match=rf"{name} .*\ndelete the folder and build it again"):
                use()


def test_a_lost_or_edited_manifest_is_named_and_written_again(
    build: Callable[..., int], examples: list[Example], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(examples)
    path = tmp_path / "cache" / "manifest.json"
    whole = path.read_bytes()
    for content in (None, b"", b"[]", whole[: len(whole) // 2], flipped(whole, 7)):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        [fault] = verify_cache(tmp_path / "cache")[1]
        assert fault.path == str(path)
        with pytest.raises(InputError, match=r"manifest\.json .*\nrun `gldbench cache build RECIPE`: it checks all"):
            SourceCache("s", tmp_path / "cache")
        caplog.clear()
        assert build(examples) == 0
        assert "the list is written again" in caplog.text
        assert path.read_bytes() == whole
    listed = json.loads(whole)
    shard = shards(tmp_path / "cache")[0]
    for change in ("removed", "other checksum"):
        files = {name: entry for name, entry in listed["files"].items() if change != "removed" or name != shard}
        if change == "other checksum":
            files[shard] = [files[shard][0], "0" * 64]
        path.write_text(json.dumps(listed | {"files": files}))
        assert [Path(fault.path).name for fault in verify_cache(tmp_path / "cache")[1]] == [shard]
        with pytest.raises(InputError, match=shard):
            SourceCache("s", tmp_path / "cache")
        rows = len(open_shard(tmp_path / "cache" / shard, read_meta(tmp_path / "cache")).columns["keys"])
        assert build(examples) == (rows if change == "other checksum" else 0)
        assert verify_cache(tmp_path / "cache") == (3, [])


def test_a_lost_manifest_does_not_let_another_meta_through(
    build: Callable[..., int], examples: list[Example], tmp_path: Path
) -> None:
    build(examples)
    (tmp_path / "cache" / "manifest.json").unlink()
    path = tmp_path / "cache" / "meta.json"
    path.write_text(path.read_text().replace('"vocabulary": 350', '"vocabulary": 351'))
    with pytest.raises(InputError, match="was made with another vocabulary"):
        build(examples)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no cache at .*cache\nbuild it with"),
        ("{", r"meta.json is not JSON.*\ndelete the folder and build it again"),
        ('{"format": 3}', r"meta.json is damaged: content is None\ndelete the folder"),
        ('{"format": 1, "k": 6}', r"has format 1, this version reads 3\ndelete the folder"),
        ("[]", r"expected a JSON object, got a list with 0 entries\ndelete the folder"),
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
    assert whole.ids is not None
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


@pytest.mark.parametrize("columns", [(), ("ids",), ("lse",), ("mean", "std"), OPTIONAL])
def test_columns_are_stored_where_asked_for(
    build: Callable[..., int], examples: list[Example], tmp_path: Path, columns: tuple[str, ...]
) -> None:
    build(examples, columns=columns)
    cached = SourceCache("s", tmp_path / "cache")
    assert all(signal.held == ("values", *columns) for signal in cached.read(examples))
    assert cached.starts(examples) == [s.starts.tolist() for s in cached.read(examples)]
    assert build(examples, columns=()) == 0  # more than is asked for is no fault
    cached.require(columns)
    for missing in set(OPTIONAL) - set(columns):
        with pytest.raises(InputError, match=rf"the recipe needs {missing}, its cache .* holds values.*\nname another"):
            cached.require([missing])
        with pytest.raises(InputError, match=f"was made without {missing}\nname another cache folder"):
            build(examples, columns=(missing,))


def test_needs_of_losses_name_columns() -> None:
    assert needed_columns({"logits", "labels"}) == ()
    assert needed_columns({"mapped"}) == needed_columns({"ids", "mapped"}) == ("ids",)
    assert needed_columns({"moments", "lse"}) == ("lse", "mean", "std")


ALIGNED = st.lists(st.one_of(st.just(0), st.integers(1, 20), st.integers(1, 70_000)), max_size=40)
"""0: a label inside a character; else the way from the label before"""


@given(ways=ALIGNED)
@example(ways=[14, 15, 28, 29, 0, 0, 1])
def test_starts_keep_every_byte(ways: list[int]) -> None:
    at, starts = -1, []
    for way in ways:
        at += way
        starts.append(at if way else -1)
    packed = pack_starts(np.array(starts, dtype=np.int64))
    assert unpack_starts(packed).tolist() == starts
    assert len(packed) <= 1 + sum(1 + way // 14 for way in ways) // 2


@pytest.mark.parametrize(("vocabulary", "width"), [(2**16, 2), (2**16 + 1, 3), (2**24, 3), (2**24 + 1, 4)])
def test_ids_take_three_bytes_up_to_24_bits(vocabulary: int, width: int) -> None:
    ids = np.random.default_rng(0).integers(vocabulary, size=(50, 10))
    ids[0, :2] = 0, vocabulary - 1
    packed = pack_ids(ids, vocabulary)
    assert packed.nbytes == width * ids.size
    np.testing.assert_array_equal(unpack_ids(packed[:, 7:30, :4]), ids[7:30, :4])


def test_texts_of_other_sources_are_not_found(
    build: Callable[..., int], models: dict[str, Path], examples: list[Example], tmp_path: Path
) -> None:
    """A shard that strayed in from another checkpoint's cache, or was made at another length."""
    build([])
    for changes in ({"checkpoint": models["qwen2"]}, {"max_length": 64}, {"dtype": "bfloat16"}):
        other = tmp_path / "other" / "-".join(changes)
        arguments = {"checkpoint": models["llama"], "cache": other, "k": K, "max_length": LENGTH} | changes
        build_cache(examples=examples, **arguments)
        for name in shards(other):
            (tmp_path / "cache" / name).write_bytes((other / name).read_bytes())
    assert len(verify_cache(tmp_path / "cache")[1]) == 3
    with pytest.raises(InputError, match=r"cannot be used: the manifest does not list it \(2 more files: .*verify"):
        SourceCache("s", tmp_path / "cache")
    assert build([]) == 0  # lists them
    cached = SourceCache("s", tmp_path / "cache")
    assert len(cached) == 30
    for text in examples:
        with pytest.raises(InputError, match="has no logits for example"):
            cached.read([text])
    assert build(examples) == 10


@pytest.mark.parametrize(
    ("changes", "told"), [({"k": 4}, "it has k = 4, "), ({"columns": ("ids",)}, "it has .*gaps, ids, keys")]
)
def test_shards_of_another_shape_are_refused(
    build: Callable[..., int], examples: list[Example], tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    build(examples)
    build(examples, cache=tmp_path / "other", **changes)
    name = shards(tmp_path / "other")[0]
    (tmp_path / "cache" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(InputError, match=rf"{name} is not a shard of this cache: .*{told}"):
        build(examples)
    assert [fault.path for fault in verify_cache(tmp_path / "cache")[1]] == [str(tmp_path / "cache" / name)]


def named_by_checksum(cache: Path, content: bytes) -> Path:
    path = cache / f"shard-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    path.write_bytes(content)
    return path


def test_what_is_no_shard_is_named(build: Callable[..., int], examples: list[Example], tmp_path: Path) -> None:
    """Files whose checksum is right, and yet they are none."""
    build(examples)
    whole = (tmp_path / "cache" / shards(tmp_path / "cache")[0]).read_bytes()
    for content in (b"", b"nonsense", whole[:-10], whole[:20]):
        path = named_by_checksum(tmp_path / "cache", content)
        with pytest.raises(InputError, match=f"{path.name} is not a shard"):
            build(examples)
        assert [fault.path for fault in verify_cache(tmp_path / "cache")[1]] == [str(path)]
        path.unlink()
    (tmp_path / "cache" / "tokenizer.zip").write_bytes(b"nonsense")
    change_manifest(tmp_path / "cache", ["tokenizer.zip"])
    [fault] = verify_cache(tmp_path / "cache")[1]
    assert fault.path.endswith("tokenizer.zip")


def spoilt_values(values: np.ndarray) -> dict[str, SequenceSignal]:
    good = signal_of(values)
    nan, rising, stranger = values.copy(), values[:, ::-1].copy(), np.full(values.shape, 350)
    nan[3, 0] = np.nan
    return {
        "logits that are not finite": replace(good, values=nan),
        "likelihoods that are not finite": replace(good, nll=nan[:, 0]),
        "not in descending order": replace(good, values=rising),
        "beyond the vocabulary of 350": replace(good, ids=stranger),
    }


def test_verify_looks_at_values_too(build: Callable[..., int], tmp_path: Path) -> None:
    build([], k=10)
    add(tmp_path / "cache", Example("x", "p", "r"), signal_of(large_logits(20, 10)))
    assert verify_cache(tmp_path / "cache") == (1, [])
    for told, signal in spoilt_values(large_logits(20, 10)).items():
        path = add(tmp_path / "cache", Example("x", "p", told), signal)
        [fault] = verify_cache(tmp_path / "cache")[1]
        assert fault.path == str(path)
        assert told in fault.problem
        path.unlink()
        change_manifest(tmp_path / "cache", remove=[path.name])


def test_stat_counts_every_file(build: Callable[..., int], examples: list[Example], tmp_path: Path) -> None:
    build([])
    assert cache_stat(tmp_path / "cache")["bytes_per_token"] is None
    build(examples)
    said = cache_stat(tmp_path / "cache")
    signals = SourceCache("s", tmp_path / "cache").read(examples)
    assert said["tokens"] == sum(len(s.values) for s in signals)
    assert said["bytes"] == sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
    assert said["bytes_per_token"] == said["bytes"] / said["tokens"]
    assert (said["shards"], said["k"], said["ids"], said["texts"]) == (3, K, True, 10)
    inside = sum(int((s.starts < 0).sum()) for s in signals)
    assert inside > 0  # pieces of the emoji
    assert said["coverage"] == 1 - inside / said["tokens"]


@pytest.mark.parametrize(("columns", "most"), [((), 21.0), (("ids",), 51.0)])
def test_bytes_per_token(build: Callable[..., int], tmp_path: Path, columns: tuple[str, ...], most: float) -> None:
    """k = 10, texts of 512 tokens of about 4 bytes, a vocabulary beyond 16 bits; every file counted."""
    build([], k=10, columns=columns)
    meta = read_meta(tmp_path / "cache") | {"vocabulary": 2**24}
    (tmp_path / "cache" / "meta.json").write_text(json.dumps(meta))
    random = np.random.default_rng(0)
    signals = [
        replace(signal_of(large_logits(512, 10)), starts=np.cumsum(random.poisson(3, size=512) + 1) - 1)
        for _ in range(20)
    ]
    keys = [random.bytes(16) for _ in signals]
    write_shard(tmp_path / "cache", pack_signals(keys, signals, columns, 2**24))
    said = cache_stat(tmp_path / "cache")
    size = said["bytes"]
    if columns:  # 10k tokens are few for a tokenizer, which goes with ids
        size -= (tmp_path / "cache" / "tokenizer.zip").stat().st_size
    assert said["tokens"] == 20 * 512
    assert size / said["tokens"] < most


def test_meta_says_what_was_stored(build: Callable[..., int], models: dict[str, Path], tmp_path: Path) -> None:
    build([])
    meta = json.loads((tmp_path / "cache" / "meta.json").read_text())
    parts = {"checkpoint", "model", "tokenizer", "template", "content"}
    assert meta["prompts"] == RULES
    assert set(meta) == parts | {
        "prompts",
        "format",
        "dtype",
        "k",
        "max_length",
        "vocabulary",
        "vocabulary_hash",
        "columns",
    }
    assert len({meta[name] for name in parts}) == 5
    assert hash_parts(models["llama"]).items() <= meta.items()


def test_a_description_with_columns_that_do_not_exist_is_named(
    build: Callable[..., int], examples: list[Example], tmp_path: Path
) -> None:
    build(examples)
    path = tmp_path / "cache" / "meta.json"
    meta = json.loads(path.read_text())
    for strange in (["lse", [1]], ["lse", "unknown"]):
        path.write_text(json.dumps(meta | {"columns": strange}))
        with pytest.raises(InputError, match="there is no column"):
            read_meta(tmp_path / "cache")
