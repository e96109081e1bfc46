"""Encoded texts: what is kept in the user's cache equals what is encoded in memory, whoever writes it and when."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from safetensors.torch import load_file

from gldfusion.errors import InputError
from gldfusion.examples import load_examples
from gldfusion.fuse import fuse
from gldfusion.model import load_tokenizer
from gldfusion.pool import worker_context, worker_pool
from gldfusion.recipe import DataPart, Recipe
from gldfusion.sources import encode_example
from gldfusion.texts import Encoding, Texts, encode_texts, load_texts, store, workers
from tests.gldfusion.conftest import LINES

RECORDS: list[dict[str, Any]] = [
    *({"id": f"n{i}", "prompt": asked, "response": said, "group": "g"} for i, (asked, said) in enumerate(LINES)),
    {"prompt": "What does <|end|> mean?", "response": "It ends a reply."},
    {"prompt": "long " * 60, "response": "cut off before its first label"},
    {"messages": [{"role": r, "content": c} for r, c in zip(["user", "assistant"] * 2, "abcd", strict=True)]},
    {"messages": [{"role": r, "content": r} for r in ("system", "user", "assistant")], "id": "half \ud83d of a pair"},
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every data file counts as large, and a worker encodes three texts at once."""
    monkeypatch.setenv("GLDFUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "LARGE", 0)
    monkeypatch.setattr(workers, "CHUNK", 3)
    return tmp_path / "cache" / "texts"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


@pytest.fixture
def encoding(models: dict[str, Path]) -> Encoding:
    return Encoding(models["pivot"], False, 64, "parse")


def load(encoding: Encoding, *data: Path | DataPart, seed: int = 0) -> Texts:
    parts = [part if isinstance(part, DataPart) else DataPart(path=part) for part in data]
    return load_texts(parts, seed, load_tokenizer(encoding.checkpoint), encoding)


def folders(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


def not_again(*_: Any) -> None:
    raise AssertionError("the texts were encoded again")


def test_a_process_encodes_small_data_once(
    data: Path, encoding: Encoding, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LARGE", 1 << 40)
    first = load(encoding, data)
    other = load(replace(encoding, max_length=32), data)
    assert max(other.lengths) == 32
    data.write_text(data.read_text() + json.dumps({"prompt": "one", "response": "more"}) + "\n")
    assert len(load(encoding, data).examples) == len(RECORDS) + 1
    data.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    monkeypatch.setattr(store, "encode_texts", not_again)
    assert load(encoding, data) is first
    assert not cache.exists()
    for seed in range(store.KEPT):
        monkeypatch.setattr(store, "encode_texts", encode_texts)
        load(encoding, data, seed=seed + 1)
    assert load(encoding, data) is not first


@pytest.mark.parametrize("special", ["parse", "text"])
def test_what_is_kept_is_what_was_encoded(
    data: Path, encoding: Encoding, cache: Path, special: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = replace(encoding, special=special)
    kept = load(encoding, data)
    (folder,) = folders(cache)
    assert {path.name for path in folder.iterdir()} == {store.FILE, "manifest.json"}
    monkeypatch.setattr(store, "LARGE", 1 << 40)
    memory = load(encoding, data)
    examples, tokenizer = load_examples([DataPart(path=data)]), load_tokenizer(encoding.checkpoint)
    expected = [encode_example(tokenizer, e, encoding.max_length, special) for e in examples]
    for texts in (kept, memory):
        assert list(texts.examples) == examples
        assert list(texts.encoded) == expected
        assert texts.examples[2:4] == examples[2:4]
        assert texts.encoded[-1] == expected[-1]
        assert texts.lengths.tolist() == [len(e.ids) for e in expected]
        assert texts.labels.tolist() == [len(e.starts) for e in expected]
        assert texts.largest.tolist() == [max(e.ids) for e in expected]
        assert texts.truncated.tolist() == [e.truncated for e in expected]
        assert texts.with_special == [(10, "<|end|>")]
        with pytest.raises(IndexError):
            texts.examples[len(examples)]
    assert kept.hash == memory.hash
    assert sum(kept.truncated)
    assert not all(kept.labels)


def test_the_numbers_stay_in_the_file(data: Path, encoding: Encoding) -> None:
    """Processes that map the same file share its memory; a copy would belong to one of them."""
    for column in load(encoding, data)._lists["ids"]:
        assert not column.values.flags.owndata
        assert not column.values.flags.writeable


def test_the_next_call_finds_them(data: Path, encoding: Encoding, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(encoding, data)
    other = data.with_name("other name.jsonl")
    data.rename(other)
    monkeypatch.setattr(store, "write_texts", not_again)
    assert list(load(encoding, other).encoded) == list(first.encoded)
    assert len(folders(cache)) == 1


def test_whatever_decides_the_ids_is_in_the_name(
    data: Path, encoding: Encoding, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    monkeypatch.setattr(store, "write_texts", lambda path, *_: (names.append(path.name), path.mkdir()))
    monkeypatch.setattr(store, "open_texts", lambda path: None)
    monkeypatch.setattr(store, "load_examples", lambda *_: [])
    more, table = data.with_name("more.jsonl"), data.with_suffix(".arrow")
    more.write_text(data.read_text() + data.read_text())
    table.write_bytes(data.read_bytes())
    load(encoding, data)
    load(replace(encoding, max_length=63), data)
    load(replace(encoding, special="text"), data)
    load(replace(encoding, checkpoint=models["qwen2"]), data)
    load(encoding, more)
    load(encoding, table)
    load(encoding, data, more)
    load(encoding, more, data)
    weighted = [DataPart(path=path, weight=weight) for path, weight in ((data, 1.0), (more, 2.0))]
    load(encoding, *weighted)
    load(encoding, *weighted, seed=1)
    monkeypatch.setattr(store, "version", lambda package: "another")
    load(encoding, data)
    monkeypatch.setattr(store.inspect, "getsource", lambda module: "another")
    load(encoding, data)
    assert len(names) == 12
    assert len(set(names)) == 12


@pytest.mark.parametrize("damage", ["a byte", "the end", "the manifest", "the file"])
def test_damaged_texts_are_made_again(
    data: Path, encoding: Encoding, cache: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = list(load(encoding, data).encoded)
    (folder,) = folders(cache)
    file = folder / store.FILE
    content = file.read_bytes()
    if damage == "a byte":
        place = len(content) // 2
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif damage == "the end":
        file.write_bytes(content[:-1])
    else:
        (file if damage == "the file" else folder / "manifest.json").unlink()
    left = cache / f".{folder.name}.12345678.part"
    left.mkdir()
    assert list(load(encoding, data).encoded) == expected
    assert "are damaged; they are made again" in caplog.text
    assert file.read_bytes() == content
    assert not left.exists()


SCRIPT = """
import json, sys
from pathlib import Path
from gldfusion.model import load_tokenizer
from gldfusion.recipe import DataPart
from gldfusion.texts import Encoding, load_texts, store, workers

def main():
    store.LARGE, workers.CHUNK = 0, 3
    write, wrote = store.write_texts, []
    store.write_texts = lambda *given: (wrote.append(1), write(*given))
    pivot = Path(sys.argv[2])
    encoding = Encoding(pivot, False, 64, "parse")
    texts = load_texts([DataPart(path=Path(sys.argv[1]))], 0, load_tokenizer(pivot), encoding)
    print(json.dumps([len(wrote), [e.ids for e in texts.encoded]]))

if __name__ == "__main__":
    main()
"""


def test_of_several_processes_one_encodes(data: Path, encoding: Encoding, tmp_path: Path, cache: Path) -> None:
    script = tmp_path / "load.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(data), str(encoding.checkpoint)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [json.loads(process.communicate(timeout=250)[0]) for process in running]
    assert sorted(wrote for wrote, _ in said) == [0, 0, 1]
    assert all(ids == said[0][1] for _, ids in said)
    assert [e.ids for e in load(encoding, data).encoded] == said[0][1]
    assert len(folders(cache)) == 1


def test_an_example_that_cannot_be_encoded_is_named_and_nothing_is_left(
    data: Path, encoding: Encoding, cache: Path
) -> None:
    with pytest.raises(InputError, match=r"example 10: its text holds '<\|end\|>', a special token of"):
        load(replace(encoding, special="refuse"), data)
    assert folders(cache) == []


def test_a_killed_worker_is_an_error_in_words() -> None:
    with (
        pytest.raises(InputError, match=r"a worker process was killed .*\nfree memory"),
        worker_pool(1, worker_context(workers.__name__), print, (), workers.MEND) as pool,
    ):
        pool.submit(signal.raise_signal, signal.SIGKILL).result()


def test_a_cache_that_cannot_be_written(
    data: Path, encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLDFUSION_CACHE", str(data))
    with pytest.raises(InputError, match=r"cannot save encoded texts in .*\nset GLDFUSION_CACHE to a folder"):
        load(encoding, data)


def test_small_files_and_sets_in_memory_are_not_kept(
    data: Path, encoding: Encoding, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = datasets.Dataset.from_list([{"prompt": "a", "response": "b"}])
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    texts = load(encoding, data, DataPart(hub="owner/name"))
    assert len(texts.examples) == len(RECORDS) + 1
    monkeypatch.setattr(store, "LARGE", data.stat().st_size + 1)
    load(encoding, data)
    assert not cache.exists()


def test_a_set_of_the_hub_is_named_by_its_files(
    tmp_path: Path, encoding: Encoding, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = DataPart(hub="owner/name")
    for number in range(2):
        folder = tmp_path / f"saved-{number}"
        datasets.Dataset.from_list([{"prompt": "a", "response": f"b{number}"}]).save_to_disk(folder)
        rows = datasets.load_from_disk(folder)
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, rows=rows, **__: rows)
        assert [e.response for e in load(encoding, part).examples] == [f"b{number}"]
    assert len(folders(cache)) == 2


def test_training_gives_the_same_weights(
    make_recipe: Callable[..., Recipe], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(steps=3, batch_size=4)
    fuse(recipe, tmp_path / "kept")
    assert len(folders(cache)) == 1
    monkeypatch.setattr(store, "LARGE", 1 << 40)
    fuse(recipe, tmp_path / "memory")
    kept, memory = (load_file(tmp_path / name / "model.safetensors") for name in ("kept", "memory"))
    assert kept.keys() == memory.keys()
    assert all(np.array_equal(kept[name].numpy(), memory[name].numpy()) for name in kept)
    notes = [json.loads((tmp_path / name / "fusion.json").read_text()) for name in ("kept", "memory")]
    assert notes[0]["identity"] == notes[1]["identity"]
